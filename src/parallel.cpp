#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#ifndef _WIN32
#include <pthread.h>
#endif

namespace matkern {
namespace {

constexpr double SERIAL_BELOW = 4e5;
constexpr double BLAS_THREADS_ABOVE = 1e8;
constexpr double LEAST_CHUNK = 1e5;

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
    int ours = 1;
};

thread_local int depth = 0;            // calls under way on this thread

// ---- the pool

struct Job {
    Body body;
    void *context;
    int64_t items, chunk;
    std::atomic<int64_t> next{0};

    void work() {
        for (;;) {
            int64_t first = next.fetch_add(chunk);
            if (first >= items) return;
            body(context, first, std::min(first + chunk, items));
        }
    }
};

struct Pool {
    std::mutex busy;                      // held by the one call that has the pool
    std::mutex mutex;                     // guards what follows
    std::condition_variable wake, idle;
    Job *job = nullptr;
    uint64_t generation = 0;
    int workers = 0, seats = 0, active = 0;

    void worker() {
        inside = true;
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            wake.wait(lock, [&] { return job && generation != seen && seats > 0; });
            seen = generation;
            Job *mine = job;
            --seats;
            ++active;
            lock.unlock();
            mine->work();
            lock.lock();
            if (--active == 0) idle.notify_one();
        }
    }

    void run(Job &mine, int threads) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            while (workers < threads - 1) {
                try {
                    std::thread(&Pool::worker, this).detach();
                } catch (const std::system_error &) {      // no more threads to be had: fewer will do
                    break;
                }
                ++workers;
            }
            job = &mine;
            seats = threads - 1;
            ++generation;
        }
        wake.notify_all();
        inside = true;
        mine.work();
        inside = false;
        std::unique_lock<std::mutex> lock(mutex);
        job = nullptr;                                     // who wakes from now on finds nothing
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

// While it lives BLAS runs on at most `threads`. Calls nest, and come from several Python threads; the last restores,
// unless somebody else has set another number meanwhile.
class BlasThreads {
public:
    explicit BlasThreads(int threads) : active(!inside) {
        if (!active) return;
        BlasState &b = state->blas;
        std::unique_lock<std::mutex> lock(b.mutex);
        if (depth++ == 0) b.changed.wait(lock, [&] { return !b.forking; });
        if (b.users++ == 0 && blas_get) b.theirs = b.ours = blas_get();
        if (threads < b.ours && blas_set) blas_set(b.ours = threads);
    }
    ~BlasThreads() {
        if (!active) return;
        BlasState &b = state->blas;
        std::lock_guard<std::mutex> lock(b.mutex);
        --depth;
        if (--b.users != 0) return;
        if (b.ours != b.theirs && blas_get() == b.ours) blas_set(b.theirs);
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
    Job job;
    job.body = body;
    job.context = context;
    job.items = items;
    job.chunk = chunk;
    state->pool.run(job, threads);
}

}  // namespace

void run(int64_t items, double work, bool lapack, Body body, void *context) {
    int threads = inside ? 1 : num_threads.load();
    BlasThreads guard(lapack && items < threads && work >= BLAS_THREADS_ABOVE ? threads : 1);
    if (threads == 1 || items < threads || work * items < SERIAL_BELOW) {
        body(context, 0, items);
        return;
    }
    int64_t least = static_cast<int64_t>(std::min(LEAST_CHUNK / std::max(work, 1.0), 1e9));
    in_pool(items, std::max<int64_t>({1, items / (8 * threads), least}), threads, body, context);
}

void share(int64_t pieces, Body body, void *context) {
    int threads = inside ? 1 : num_threads.load();
    if (threads == 1) {
        body(context, 0, pieces);
        return;
    }
    BlasThreads guard(1);
    in_pool(pieces, std::max<int64_t>(1, pieces / threads), threads, body, context);   // BLAS likes them large
}

void set_num_threads(int threads) { num_threads = std::max(1, threads); }
int get_num_threads() { return num_threads; }

void set_blas(void (*set)(int), int (*get)()) {
    blas_set = set;
    blas_get = get;
}

}  // namespace matkern
