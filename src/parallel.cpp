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
constexpr double BLAS_THREADS_ABOVE = 1e9;
constexpr double LEAST_CHUNK = 1e5;

std::atomic<int> num_threads{1};
thread_local bool inside = false;      // this thread is working on a parallel call

// ---- BLAS threads

void (*blas_set)(int) = nullptr;
int (*blas_get)() = nullptr;

struct BlasState {
    std::mutex mutex;
    int users = 0;        // calls that are under way
    int theirs = 1;       // what the library was set to before the first of them
    int ours = 1;
};

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
void in_child() {
    int theirs = state->blas.users ? state->blas.theirs : 0;
    state = new State;
    inside = false;
    if (theirs && blas_set) blas_set(theirs);
}
#endif

struct Init {
    Init() {
        state = new State;
#ifndef _WIN32
        pthread_atfork(nullptr, nullptr, in_child);
#endif
    }
} init;

// While it lives BLAS runs on at most `threads`. Calls from several Python threads nest; the last restores.
class BlasThreads {
public:
    explicit BlasThreads(int threads) : active(blas_set && !inside) {
        if (!active) return;
        BlasState &b = state->blas;
        std::lock_guard<std::mutex> lock(b.mutex);
        if (b.users++ == 0) b.theirs = b.ours = blas_get();
        if (threads < b.ours) blas_set(b.ours = threads);
    }
    ~BlasThreads() {
        if (!active) return;
        BlasState &b = state->blas;
        std::lock_guard<std::mutex> lock(b.mutex);
        if (--b.users == 0 && b.ours != b.theirs) blas_set(b.theirs);
    }

private:
    bool active;
};

}  // namespace

void run(int64_t items, double work, Body body, void *context) {
    int threads = inside ? 1 : num_threads.load();
    if (items < threads) {
        BlasThreads guard(work >= BLAS_THREADS_ABOVE ? threads : 1);
        body(context, 0, items);
        return;
    }
    BlasThreads guard(1);
    if (threads == 1 || work * items < SERIAL_BELOW) {
        body(context, 0, items);
        return;
    }
    Pool &pool = state->pool;
    std::unique_lock<std::mutex> mine(pool.busy, std::try_to_lock);
    if (!mine.owns_lock()) {
        body(context, 0, items);
        return;
    }
    Job job;
    job.body = body;
    job.context = context;
    job.items = items;
    int64_t least = static_cast<int64_t>(std::min(LEAST_CHUNK / std::max(work, 1.0), 1e9));
    job.chunk = std::max<int64_t>({1, items / (8 * threads), least});
    pool.run(job, threads);
}

void set_num_threads(int threads) { num_threads = std::max(1, threads); }
int get_num_threads() { return num_threads; }

void set_blas(void (*set)(int), int (*get)()) {
    blas_set = set;
    blas_get = get;
}

}  // namespace matkern
