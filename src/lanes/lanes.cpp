// The lane functions of one instruction set. setup.py compiles this file once for each, with LANES (the namespace) and
// BYTES (of a register) defined.
#include "lanes.hpp"

#include "bidiagonal.hpp"
#include "cholesky.hpp"
#include "eig.hpp"
#include "eigh.hpp"
#include "expm.hpp"
#include "gemm.hpp"
#include "lstsq.hpp"
#include "lu.hpp"
#include "matmul.hpp"
#include "norm.hpp"
#include "packing.hpp"
#include "pinv.hpp"
#include "qr.hpp"
#include "svd.hpp"
#include "tridiagonal.hpp"
#include "triangular.hpp"

namespace LANES {
namespace {

ptrdiff_t matrix(const ptrdiff_t *n) { return n[0] * n[0]; }
ptrdiff_t factored(const ptrdiff_t *n) { return n[0] * (n[0] + 1); }
ptrdiff_t two_matrices(const ptrdiff_t *n) { return 2 * n[0] * n[0]; }
ptrdiff_t eight_matrices(const ptrdiff_t *n) { return 8 * n[0] * n[0]; }
ptrdiff_t exponential_by_powers(const ptrdiff_t *n) { return n[0] * (9 * n[0] + 2); }
ptrdiff_t tridiagonal(const ptrdiff_t *n) { return 2 * n[0] * (n[0] + 3); }
ptrdiff_t exponential_by_values(const ptrdiff_t *n) { return n[0] * (n[0] + 2) + tridiagonal(n); }
ptrdiff_t bidiagonal(const ptrdiff_t *n) {
    ptrdiff_t most = n[0] > n[1] ? n[0] : n[1];
    return n[2] * (2 * most + n[2] + 8);
}
ptrdiff_t pinv_by_svd(const ptrdiff_t *n) {
    ptrdiff_t sizes[] = {n[0], n[1], n[0] < n[1] ? n[0] : n[1]};
    return sizes[2] * (n[0] + n[1] + 1) + bidiagonal(sizes);
}
ptrdiff_t norm_by_svd(const ptrdiff_t *n) { return pinv_by_svd(n) + n[0] + n[1]; }
ptrdiff_t least_squares(const ptrdiff_t *n) { return (2 * n[0] + n[1]) * n[2]; }
ptrdiff_t three_smaller(const ptrdiff_t *n) {
    ptrdiff_t least = n[0] < n[1] ? n[0] : n[1];
    return 3 * least * least;
}
ptrdiff_t reflected(const ptrdiff_t *n) { return n[0] * n[1] + n[2]; }
ptrdiff_t thin_qr(const ptrdiff_t *n) { return (n[0] + 2 * n[1]) * n[1]; }
ptrdiff_t thin_svd(const ptrdiff_t *n) {
    ptrdiff_t most = n[0] > n[2] ? n[0] : n[2];
    return n[1] * (2 * n[1] + most + 1);
}
ptrdiff_t solution(const ptrdiff_t *n) { return n[0] * n[1]; }
ptrdiff_t three_solutions(const ptrdiff_t *n) { return 3 * n[0] * n[1]; }

constexpr int with_gemm(int most) { return HAS_GEMM ? most : 24; }
// Where AVX2's limit is another.
constexpr int with_avx2(int most, int others) { return BYTES == 32 ? most : others; }

// A kernel's name is its lane function's, or that of another (BY). The largest n are from bench/crossovers.py: 32, or one
// for each dtype; where gemm.cpp and trsm.cpp do most of the work of one matrix, those hold for variants that have both, and
// not for systems of a few right-hand sides.
#define EACH(name, function, s, d, c, z, few, workspace)                                                       \
    {#name, 0, function<S>, s, few, workspace}, {#name, 1, function<D>, d, few, workspace},                    \
    {#name, 2, function<C>, c, few, workspace}, {#name, 3, function<Z>, z, few, workspace}
#define KERNEL_BY(name, function, workspace) EACH(name, function, 32, 32, 32, 32, 0, workspace)
#define KERNEL_UP_TO(name, s, d, c, z, workspace) EACH(name, name, s, d, c, z, 0, workspace)
#define KERNEL_OF_GEMM_BY(name, function, s, d, c, z, workspace) \
    EACH(name, function, with_gemm(s), with_gemm(d), with_gemm(c), with_gemm(z), 0, workspace)
#define KERNEL_OF_GEMM(name, s, d, c, z, workspace) KERNEL_OF_GEMM_BY(name, name, s, d, c, z, workspace)
#define KERNEL_OF_SYSTEMS(name, s, d, c, z, workspace) \
    EACH(name, name, with_gemm(s), with_gemm(d), with_gemm(c), with_gemm(z), 4, workspace)
#define KERNEL(name, workspace) KERNEL_BY(name, name, workspace)

const matkern::LaneKernel kernels[] = {
    KERNEL(cholesky, nullptr),
    KERNEL(cholesky_vjp, nullptr),
    KERNEL(cholesky_jvp, nullptr),
    KERNEL_OF_SYSTEMS(cholesky_solve, 32, 24, 24, 32, nullptr),
    KERNEL_OF_SYSTEMS(cholesky_solve_vjp, 32, 32, 24, 24, three_solutions),
    KERNEL(cholesky_solve_jvp, solution),
    KERNEL(det, factored),
    KERNEL(det_vjp, nullptr),
    KERNEL(det_jvp, matrix),
    KERNEL(eig_vjp, two_matrices),
    KERNEL(eig_jvp, two_matrices),
    KERNEL(eigh, tridiagonal),
    KERNEL_OF_GEMM(eigh_vjp, with_avx2(24, 32), 14, 32, 32, two_matrices),
    KERNEL_OF_GEMM(eigh_jvp, with_avx2(28, 32), 12, 32, 32, two_matrices),
    KERNEL_OF_GEMM_BY(eigvalsh_vjp, eigh_vjp, with_avx2(20, 28), with_avx2(14, 20), with_avx2(16, 24), 24, two_matrices),
    KERNEL_BY(eigvalsh_jvp, eigh_jvp, two_matrices),
    KERNEL(expm, exponential_by_powers),
    KERNEL_OF_GEMM(expm_vjp, 24, 24, 16, 16, eight_matrices),
    KERNEL_OF_GEMM(expm_jvp, 24, 24, 16, 16, eight_matrices),
    KERNEL(expm_hermitian, exponential_by_values),
    KERNEL(expm_hermitian_vjp, factored),
    KERNEL_BY(expm_hermitian_jvp, expm_hermitian_vjp, factored),
    KERNEL(inv, factored),
    KERNEL_OF_GEMM(inv_vjp, 15, 10, 8, 8, matrix),
    KERNEL_OF_GEMM(inv_jvp, 12, 7, 7, 5, matrix),
    KERNEL(lstsq_vjp, least_squares),
    KERNEL(lstsq_jvp, least_squares),
    KERNEL(lu_factor, nullptr),
    KERNEL(lu_factor_vjp, nullptr),
    KERNEL(lu_factor_jvp, nullptr),
    KERNEL(slogdet, factored),
    KERNEL(slogdet_vjp, nullptr),
    KERNEL(slogdet_jvp, matrix),
    KERNEL_OF_GEMM(matmul, 12, 7, 7, 4, nullptr),
    KERNEL_OF_GEMM(matmul_vjp, 15, 7, 7, 7, nullptr),
    KERNEL_OF_GEMM(matmul_jvp, 15, 7, 7, 4, nullptr),
    KERNEL(norm, norm_by_svd),
    KERNEL_UP_TO(norm_vjp, 6, 4, 32, 8, nullptr),
    KERNEL_UP_TO(norm_jvp, 32, 6, 32, 8, nullptr),
    KERNEL(pinv, pinv_by_svd),
    KERNEL_OF_GEMM(pinv_vjp, 24, 12, 12, 8, three_smaller),
    KERNEL_OF_GEMM(pinv_jvp, 24, 8, 12, 7, three_smaller),
    KERNEL(qr, reflected),
    KERNEL_OF_GEMM(qr_vjp, 32, with_avx2(32, 24), 24, 24, thin_qr),
    KERNEL_OF_GEMM(qr_jvp, 32, 24, 24, 24, thin_qr),
    KERNEL(solve, factored),
    KERNEL_OF_SYSTEMS(solve_vjp, 28, with_avx2(24, 15), 20, 12, solution),
    KERNEL_OF_SYSTEMS(solve_jvp, 28, 15, 12, 12, nullptr),
    KERNEL(svd, bidiagonal),
    KERNEL_OF_GEMM(svd_vjp, 32, 10, 32, 32, thin_svd),
    KERNEL_OF_GEMM(svd_jvp, 32, 16, 32, 32, thin_svd),
    KERNEL_BY(svdvals, svd, bidiagonal),
    KERNEL_OF_GEMM_BY(svdvals_vjp, svd_vjp, 10, 6, 7, 6, thin_svd),
    KERNEL_OF_GEMM_BY(svdvals_jvp, svd_jvp, 24, 8, 14, 6, thin_svd),
    KERNEL_OF_SYSTEMS(solve_triangular, 15, 15, 16, 12, nullptr),
    KERNEL_OF_SYSTEMS(solve_triangular_vjp, 28, with_avx2(24, 15), 12, 12, solution),
    KERNEL_OF_SYSTEMS(solve_triangular_jvp, 32, 24, 32, 32, nullptr),
};

}  // namespace

extern const matkern::LaneVariant variant;
const matkern::LaneVariant variant = {NAME,
                                      BYTES,
                                      kernels,
                                      sizeof(kernels) / sizeof(kernels[0]),
                                      pack<BYTES>,
                                      unpack<BYTES>,
                                      gemm_fits,
                                      gemm,
                                      trsm,
                                      mirror,
                                      skew_quotients,
                                      sum_of_squares,
                                      gemv,
                                      hemv};

}  // namespace LANES
