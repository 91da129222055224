// Threads over the batch, and the BLAS library's own threads: the only place that knows of either.
//
// The cost model. One item (a matrix of the batch) costs `work` units, about a flop each; `run` decides once:
//   1. all items together below SERIAL_BELOW: the calling thread alone, BLAS on one thread;
//   2. at least as many items as threads: threads over the items, BLAS on one thread;
//   3. fewer items than threads: one after the other, each with BLAS's threads if an item is at least
//      BLAS_THREADS_ABOVE. BLAS's threads wait for each other by spinning, in every one of a kernel's many calls: where
//      another process has the second core, a kernel took 50 times as long with them as without. So they are for
//      matrices of about 700 rows or more.
// A call from inside a parallel one, or while another Python thread has the pool, is serial.
//
// The pool starts with the first call that needs it, and anew in a forked child. It sleeps between calls:
// spinning threads cost others more than waking costs us.
#pragma once
#include <cstdint>

namespace matkern {

using Body = void (*)(void *context, int64_t first, int64_t last);

// Calls body(context, first, last) on ranges that cover [0, items).
void run(int64_t items, double work, Body body, void *context);

void set_num_threads(int threads);
int get_num_threads();

// How to set and to ask for the number of threads of the BLAS library that the kernels call.
void set_blas(void (*set)(int), int (*get)());

}  // namespace matkern
