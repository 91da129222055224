// Which variant of the lanes this process uses, from what the CPU has.
#include <atomic>
#include <cstring>

#include "lanes.hpp"

namespace lanes_baseline { extern const matkern::LaneVariant variant; }
#if defined(__x86_64__)
namespace lanes_avx2 { extern const matkern::LaneVariant variant; }
namespace lanes_avx512 { extern const matkern::LaneVariant variant; }
#endif

namespace matkern {
namespace {

struct Variants {
    const LaneVariant *list[4] = {};
    std::atomic<const LaneVariant *> chosen;
    std::atomic<int> limit{0};

    Variants() {
        int count = 0;
        list[count++] = &lanes_baseline::variant;
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list[count++] = &lanes_avx2::variant;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
            && __builtin_cpu_supports("avx512bw"))
            list[count++] = &lanes_avx512::variant;
#endif
        chosen = list[count - 1];
    }
};

Variants &variants() {
    static Variants those;
    return those;
}

}  // namespace

const LaneVariant *const *lane_variants() { return variants().list; }
const LaneVariant *lane_variant() { return variants().chosen.load(std::memory_order_relaxed); }
int lane_limit() { return variants().limit.load(std::memory_order_relaxed); }
void set_lane_limit(int limit) { variants().limit = limit < MOST_ROWS ? limit : MOST_ROWS; }

void set_lane_variant(const LaneVariant *variant) { variants().chosen = variant; }

int product_fits(const matkern_product *product) {
    const LaneVariant *variant = lane_variant();
    return variant && variant->gemm_fits(*product);
}

int own_product(const matkern_product *product) {
    const LaneVariant *variant = lane_variant();
    return variant && variant->gemm(*product);
}

int small_system(const matkern_system *system) {
    const LaneVariant *variant = lane_variant();
    return variant && variant->trsm(*system);
}

int mirror(char dtype, int64_t n, void *a) {
    const LaneVariant *variant = lane_variant();
    return variant && variant->mirror(dtype, n, a);
}

int64_t skew_quotients(char dtype, int64_t n, double apart, const void *w, void *m) {
    const LaneVariant *variant = lane_variant();
    return variant ? variant->skew_quotients(dtype, n, apart, w, m) : 0;
}

int sum_of_squares(char dtype, int64_t count, const void *a, double *sum) {
    const LaneVariant *variant = lane_variant();
    if (variant) *sum = variant->sum_of_squares(dtype, count, a);
    return variant != nullptr;
}

// Lanes may be turned off while a factorisation is under way: then the first variant goes on.
const LaneVariant &any_variant() {
    const LaneVariant *variant = lane_variant();
    return variant ? *variant : *variants().list[0];
}

int has_gemv() { return lane_variant() != nullptr; }

void gemv(char dtype, int64_t m, int64_t n, const void *a, int64_t lda, const void *x, void *y, const void *v, void *w) {
    any_variant().gemv(dtype, m, n, a, lda, x, y, v, w);
}

void hemv(char dtype, int64_t n, int64_t first, int64_t last, const void *a, int64_t lda, const void *x, void *y) {
    any_variant().hemv(dtype, n, first, last, a, lda, x, y);
}

int lane_kernel(const char *name, int dtype) {
    const LaneVariant &first = *variants().list[0];
    for (int i = 0; i < first.count; ++i)
        if (first.kernels[i].dtype == dtype && !std::strcmp(first.kernels[i].name, name)) return i;
    return -1;
}

}  // namespace matkern
