// One XLA FFI handler for all kernels: JAX's programs call the batch loop on their own buffers, with no copy and no Python.
// Compiled against the oldest jaxlib supported; a runtime refuses handlers of a newer interface than its own.

#include "xla.hpp"

#include <algorithm>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

matkern::RunBuffers run_buffers = nullptr;

// kernel, dtype: which loop. present: a bit for each operand, inputs first, that has a buffer. options: an index each.
ffi::Error call(ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t kernel, int64_t dtype, int64_t present,
                ffi::Span<const int64_t> options) {
    size_t count = args.size() + rets.size();
    std::vector<matkern::Buffer> buffers(count);
    for (size_t i = 0; i < count; ++i) {
        ffi::AnyBuffer::Dimensions dims;
        if (i < args.size()) {
            auto buffer = args.get<ffi::AnyBuffer>(i);
            if (buffer.has_error()) return buffer.error();
            dims = buffer->dimensions();
            buffers[i].data = buffer->untyped_data();
        } else {
            auto buffer = rets.get<ffi::AnyBuffer>(i - args.size());
            if (buffer.has_error()) return buffer.error();
            dims = (*buffer)->dimensions();
            buffers[i].data = (*buffer)->untyped_data();
        }
        buffers[i].dims = dims.begin();
        buffers[i].ndim = static_cast<int>(dims.size());
    }
    const char *error = run_buffers(kernel, static_cast<int>(dtype), present, options.begin(),
                                    static_cast<int>(options.size()), buffers.data(), static_cast<int>(count));
    return error ? ffi::Error(ffi::ErrorCode::kInvalidArgument, error) : ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER(matkern_handler, call,
                       ffi::Ffi::Bind()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attr<int64_t>("kernel")
                           .Attr<int64_t>("dtype")
                           .Attr<int64_t>("present")
                           .Attr<ffi::Span<const int64_t>>("options"));

namespace matkern {

void *handler(RunBuffers run) {
    run_buffers = run;
    return reinterpret_cast<void *>(+matkern_handler);
}

}  // namespace matkern
