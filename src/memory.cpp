#include "memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace matkern {
namespace {

constexpr std::size_t LINE = 64, PAGE = 1 << 21, KEPT_BYTES = 1 << 26;
constexpr int KEPT_BLOCKS = 16;

struct alignas(LINE) Header {               // in front of a block
    std::size_t capacity;
};

Header *kept[KEPT_BLOCKS];                  // the oldest first
int count = 0;
std::size_t kept_bytes = 0;
std::atomic_flag taken = ATOMIC_FLAG_INIT;  // somebody is at `kept`

// Who finds it taken does without what is kept: so nobody waits, not even for a thread that a fork left behind.
struct Turn {
    const bool mine = !taken.test_and_set(std::memory_order_acquire);
    ~Turn() {
        if (mine) taken.clear(std::memory_order_release);
    }
};

Header *header_of(void *block) { return static_cast<Header *>(block) - 1; }

std::align_val_t alignment(std::size_t capacity) { return std::align_val_t(capacity < 2 * PAGE ? LINE : PAGE); }

Header *make(std::size_t capacity) {
    if (capacity > PTRDIFF_MAX - PAGE) return nullptr;
    void *memory = operator new(sizeof(Header) + capacity, alignment(capacity), std::nothrow);
    if (!memory) return nullptr;
#ifdef __linux__
    if (capacity >= 2 * PAGE) madvise(memory, sizeof(Header) + capacity, MADV_HUGEPAGE);   // as NumPy asks for
#endif
    return new (memory) Header{capacity};
}

void destroy(Header *header) { operator delete(header, alignment(header->capacity)); }

Header *remove(int i) {
    Header *header = kept[i];
    std::copy(kept + i + 1, kept + count, kept + i);
    --count;
    kept_bytes -= header->capacity;
    return header;
}

}  // namespace

void *allocate(void *, std::size_t size) {
    Header *header = nullptr;
    if (Turn turn; turn.mine) {
        int best = -1;
        for (int i = 0; i < count; ++i)
            if (kept[i]->capacity >= size && kept[i]->capacity / 2 <= size &&
                (best < 0 || kept[i]->capacity <= kept[best]->capacity))
                best = i;
        if (best >= 0) header = remove(best);
    }
    if (!header) header = make(size);
    return header ? header + 1 : nullptr;
}

void *allocate_zeros(void *, std::size_t number, std::size_t size) {
    if (size && number > PTRDIFF_MAX / size) return nullptr;
    void *block = allocate(nullptr, number * size);
    return block ? std::memset(block, 0, number * size) : nullptr;
}

void *reallocate(void *, void *block, std::size_t size) {
    if (!block) return allocate(nullptr, size);
    void *other = allocate(nullptr, size);
    if (!other) return nullptr;
    std::memcpy(other, block, std::min(size, header_of(block)->capacity));
    release(nullptr, block, 0);
    return other;
}

void release(void *, void *block, std::size_t) {
    if (!block) return;
    Header *header = header_of(block);
    if (header->capacity <= KEPT_BYTES)
        if (Turn turn; turn.mine) {
            while (count == KEPT_BLOCKS || kept_bytes + header->capacity > KEPT_BYTES) destroy(remove(0));
            kept[count++] = header;
            kept_bytes += header->capacity;
            return;
        }
    destroy(header);
}

}  // namespace matkern
