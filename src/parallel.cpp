#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#ifndef _WIN32
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

namespace matkern {
namespace {

constexpr double SERIAL_BELOW = 4e5;
constexpr double LEAST_CHUNK = 1e5;
constexpr double SHARED_ABOVE = 1e8;
constexpr int64_t LARGEST_SHARE = 64;  // pieces of a product
constexpr std::chrono::microseconds PATIENCE{100};

std::atomic<int> num_threads{1};
thread_local bool inside = false;      // this thread is working on a parallel call

// ---- BLAS threads

void (*blas_set)(int) = nullptr;
int (*blas_get)() = nullptr;

struct BlasState {
    std::mutex mutex;
    std::condition_variable changed;
    int users = 0;         // calls that are under way
    bool forking = false;  // no new one may start
    int theirs = 1;        // what the library was set to before the first of them
};

thread_local int depth = 0;            // calls under way on this thread

// ---- the pool

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Waits until it is true, but for a moment at most. Not by yielding: to Linux that is to forgo a slice of time, and beside
// another thread on its core a worker then computes for a seventh of the time, not for half of it.
template <class Condition> void wait_a_moment(Condition condition) {
    auto end = std::chrono::steady_clock::now() + PATIENCE;
    while (!condition() && std::chrono::steady_clock::now() < end) pause();
}

struct alignas(64) Range {
    std::atomic<int64_t> next;
    int64_t end;
};

struct Job {
    static constexpr int MOST_RANGES = 64;
    Body body;
    void *context;
    int64_t chunk;
    int threads, count;
    Range ranges[MOST_RANGES];

    Job(Body body, void *context, int64_t items, int64_t chunk, int threads)
        : body(body), context(context), chunk(chunk), threads(threads), count(std::min(threads, MOST_RANGES)) {
        for (int r = 0; r < count; ++r) {
            ranges[r].next = items / count * r + std::min<int64_t>(r, items % count);
            ranges[r].end = items / count * (r + 1) + std::min<int64_t>(r + 1, items % count);
        }
    }

    // A thread has the same items in each call, which may still be in its cache; then it helps the others.
    void work(int thread) {
        for (int k = 0; k < count; ++k) {
            Range &range = ranges[(thread + k) % count];
            for (;;) {
                int64_t first = range.next.fetch_add(chunk);
                if (first >= range.end) break;
                body(context, first, std::min(first + chunk, range.end));
            }
        }
    }
};

#ifdef __linux__
// Keeps workers off the core of the calling thread, if there are cores enough. With a thread that spins on another one, as
// those of BLAS and OpenMP do for some time after their work, the system may else leave caller and worker on the same core,
// each at half its speed.
class Separation {
public:
    void keep(const std::vector<pthread_t> &workers, int threads) {
        int here = sched_getcpu();
        if (here < 0 || (here == avoided && workers.size() == count)) return;
        cpu_set_t cores;
        if (pthread_getaffinity_np(pthread_self(), sizeof cores, &cores)) return;
        bool enough = CPU_COUNT(&cores) >= threads;
        if (enough) CPU_CLR(here, &cores);
        for (pthread_t worker : workers) pthread_setaffinity_np(worker, sizeof cores, &cores);
        avoided = enough ? here : -1;
        count = workers.size();
    }

private:
    int avoided = -1;
    size_t count = 0;
};
#endif

struct Pool {
    std::mutex busy;                      // held by the one call that has the pool
    std::mutex mutex;                     // guards what follows; who waits for a moment reads the two numbers without it
    std::condition_variable wake, idle;
    Job *job = nullptr;
    std::atomic<uint64_t> generation{0};
    std::atomic<int> active{0};
    std::vector<std::thread::native_handle_type> workers;
#ifdef __linux__
    Separation separation;
#endif

    void worker(int thread) {
        inside = true;
        uint64_t seen = 0;
        for (;;) {
            wait_a_moment([&] { return generation != seen; });
            std::unique_lock<std::mutex> lock(mutex);
            wake.wait(lock, [&] { return job && generation != seen && thread < job->threads; });
            seen = generation;
            Job *mine = job;
            ++active;
            lock.unlock();
            mine->work(thread);
            lock.lock();
            if (--active == 0) idle.notify_one();
        }
    }

    void run(Job &mine) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            while (int(workers.size()) < mine.threads - 1) {
                try {
                    workers.reserve(workers.size() + 1);
                    std::thread started(&Pool::worker, this, int(workers.size()) + 1);
                    workers.push_back(started.native_handle());
                    started.detach();
                } catch (const std::exception &) {         // no more threads to be had: fewer will do
                    break;
                }
            }
#ifdef __linux__
            separation.keep(workers, mine.threads);
#endif
            job = &mine;
            ++generation;
        }
        wake.notify_all();
        inside = true;
        mine.work(0);
        inside = false;
        std::unique_lock<std::mutex> lock(mutex);
        job = nullptr;                                     // who wakes from now on finds nothing
        if (active == 0) return;
        lock.unlock();
        wait_a_moment([&] { return active == 0; });
        lock.lock();
        idle.wait(lock, [&] { return active == 0; });
    }
};

// On the heap and never freed: a forked child leaves its parent's behind, with whatever locks are held in it,
// and at exit sleeping workers may still look at it.
struct State {
    BlasState blas;
    Pool pool;
};
State *state = nullptr;

#ifndef _WIN32
// A fork waits for the calls of other threads to end: the child would inherit BLAS's locks as those held them, and
// with no thread to release them hang in its first call.
void before_fork() {
    BlasState &b = state->blas;
    std::unique_lock<std::mutex> lock(b.mutex);
    b.forking = true;
    b.changed.wait(lock, [&] { return b.users == 0; });
}

void after_fork() {
    BlasState &b = state->blas;
    std::lock_guard<std::mutex> lock(b.mutex);
    b.forking = false;
    b.changed.notify_all();
}

void in_child() { state = new State; }
#endif

struct Init {
    Init() {
        state = new State;
#ifndef _WIN32
        pthread_atfork(before_fork, after_fork, in_child);
#endif
    }
} init;

// While it lives BLAS runs on one thread. Calls nest, and come from several Python threads; the last restores,
// unless somebody else has set another number meanwhile.
class OneBlasThread {
public:
    OneBlasThread() : active(!inside) {
        if (!active) return;
        BlasState &b = state->blas;
        std::unique_lock<std::mutex> lock(b.mutex);
        if (depth++ == 0) b.changed.wait(lock, [&] { return !b.forking; });
        if (b.users++ == 0 && blas_get && (b.theirs = blas_get()) > 1) blas_set(1);
    }
    ~OneBlasThread() {
        if (!active) return;
        BlasState &b = state->blas;
        std::lock_guard<std::mutex> lock(b.mutex);
        --depth;
        if (--b.users != 0) return;
        if (b.theirs > 1 && blas_get() == 1) blas_set(b.theirs);
        if (b.forking) b.changed.notify_all();
    }

private:
    bool active;
};

}  // namespace

namespace {

void in_pool(int64_t items, int64_t chunk, int threads, Body body, void *context) {
    std::unique_lock<std::mutex> mine(state->pool.busy, std::try_to_lock);
    if (!mine.owns_lock()) {
        body(context, 0, items);
        return;
    }
    Job job(body, context, items, chunk, threads);
    state->pool.run(job);
}

}  // namespace

void run(int64_t items, double work, Body body, void *context) {
    int threads = inside ? 1 : num_threads.load();
    OneBlasThread guard;
    if (threads == 1 || items < threads || work * items < SERIAL_BELOW) {
        body(context, 0, items);
        return;
    }
    int64_t least = static_cast<int64_t>(std::min(LEAST_CHUNK / std::max(work, 1.0), 1e9));
    int64_t rest = work >= SHARED_ABOVE ? items % threads : 0;
    in_pool(items - rest, std::max<int64_t>({1, items / 8 / threads, least}), threads, body, context);
    if (rest) body(context, items - rest, items);
}

void share(int64_t pieces, Body body, void *context) {
    int threads = inside ? 1 : num_threads.load();
    if (threads == 1) {
        body(context, 0, pieces);
        return;
    }
    OneBlasThread guard;
    // products like them large, but of the largest a thread with a core to itself does more than one beside others
    int64_t most = std::min<int64_t>(pieces / threads, LARGEST_SHARE);
    in_pool(pieces, std::max<int64_t>(1, most), threads, body, context);
}

void set_num_threads(int threads) { num_threads = std::max(1, threads); }
int get_num_threads() { return num_threads; }

void set_blas(void (*set)(int), int (*get)()) {
    blas_set = set;
    blas_get = get;
}

}  // namespace matkern
