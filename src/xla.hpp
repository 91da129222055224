// The XLA FFI handler, and what it calls of the batch layer (gufunc.pyx).
#pragma once

#include <cstdint>

namespace matkern {

struct Buffer {         // dense and row-major, batch axes first
    void *data;
    const int64_t *dims;
    int ndim;
};

// Returns NULL, or what is wrong with the buffers.
typedef const char *(*RunBuffers)(int64_t kernel, int dtype, int64_t present, const int64_t *options, int n_options,
                                  const Buffer *buffers, int n_buffers);

void *handler(RunBuffers run);

}  // namespace matkern
