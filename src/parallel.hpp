// Threads over the batch, and the BLAS library's own threads: the only place that knows of either.
//
// The cost model. One item (a matrix of the batch) costs `work` units, about a flop each; `run` decides once:
//   1. all items together below SERIAL_BELOW: the calling thread alone;
//   2. at least as many items as threads: threads over the items; large ones that are left over (work of SHARED_ABOVE) as
//      in the third case;
//   3. fewer items than threads: one after the other, each of whose large products threads `share`.
// BLAS runs on one thread: its own wait for each other by spinning, in each of many calls.
// A call from inside a parallel one, or while another Python thread has the pool, is serial.
//
// The pool starts with the first call that needs it, and anew in a forked child; a fork waits for calls under way. Between
// calls it waits for a moment (PATIENCE), giving way to whoever wants the core, then sleeps: to wake a thread takes half
// as long as a call on 10000 matrices of order 2, but one that spins costs others more.
#pragma once
#include <cstdint>

namespace matkern {

using Body = void (*)(void *context, int64_t first, int64_t last);

// Calls body(context, first, last) on ranges that cover [0, items).
void run(int64_t items, double work, Body body, void *context);

// The same for pieces of one matrix product, each worth a thread.
void share(int64_t pieces, Body body, void *context);

void set_num_threads(int threads);
int get_num_threads();

// How to set and to ask for the number of threads of the BLAS library that the kernels call.
void set_blas(void (*set)(int), int (*get)());

}  // namespace matkern
