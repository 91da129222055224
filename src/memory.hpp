// Memory of large results and workspaces: aligned to cache lines, and kept for the next once it is given back.
//
// An allocator returns large blocks to the operating system, and to get them anew, page by page, takes longer than most
// kernels need to fill them. At most KEPT_BYTES stay.
#pragma once
#include <cstddef>

namespace matkern {

constexpr std::size_t LEAST_LARGE = 1 << 17;  // bytes: smaller results are NumPy's own to allocate, workspaces malloc's

// The functions of a PyDataMem_Handler. They need no lock of the caller's.
void *allocate(void *, std::size_t size);
void *allocate_zeros(void *, std::size_t count, std::size_t size);
void *reallocate(void *, void *block, std::size_t size);
void release(void *, void *block, std::size_t);

}  // namespace matkern
