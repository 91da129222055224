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

using S = Real<float, BYTES / 4>;
using D = Real<double, BYTES / 8>;
using C = Complex<float, BYTES / 4>;
using Z = Complex<double, BYTES / 8>;

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

// A kernel's name is its lane function's, or that of another. The largest n of real and of complex matrices are from
// bench/crossovers.py.
#define KERNEL_BY(name, function, real, complex, workspace)                                          \
    {#name, 0, function<S>, real, workspace}, {#name, 1, function<D>, real, workspace},              \
    {#name, 2, function<C>, complex, workspace}, {#name, 3, function<Z>, complex, workspace}
#define KERNEL(name, real, complex, workspace) KERNEL_BY(name, name, real, complex, workspace)

const matkern::LaneKernel kernels[] = {
    KERNEL(cholesky, 32, 32, nullptr),
    KERNEL(cholesky_vjp, 32, 32, nullptr),
    KERNEL(cholesky_jvp, 32, 32, nullptr),
    KERNEL(cholesky_solve, 32, 32, nullptr),
    KERNEL(cholesky_solve_vjp, 32, 32, three_solutions),
    KERNEL(cholesky_solve_jvp, 32, 32, solution),
    KERNEL(det, 32, 32, factored),
    KERNEL(det_vjp, 32, 32, nullptr),
    KERNEL(det_jvp, 32, 32, matrix),
    KERNEL(eig_vjp, 32, 32, two_matrices),
    KERNEL(eig_jvp, 32, 32, two_matrices),
    KERNEL(eigh, 32, 32, tridiagonal),
    KERNEL(eigh_vjp, 24, 32, two_matrices),
    KERNEL(eigh_jvp, 24, 32, two_matrices),
    KERNEL(expm, 32, 32, exponential_by_powers),
    KERNEL(expm_vjp, 24, 32, eight_matrices),
    KERNEL(expm_jvp, 24, 32, eight_matrices),
    KERNEL(expm_hermitian, 32, 32, exponential_by_values),
    KERNEL(expm_hermitian_vjp, 32, 32, factored),
    KERNEL_BY(expm_hermitian_jvp, expm_hermitian_vjp, 32, 32, factored),
    KERNEL(inv, 32, 32, factored),
    KERNEL(inv_vjp, 20, 32, matrix),
    KERNEL(inv_jvp, 6, 24, matrix),
    KERNEL(lstsq_vjp, 32, 32, least_squares),
    KERNEL(lstsq_jvp, 32, 32, least_squares),
    KERNEL(lu_factor, 32, 32, nullptr),
    KERNEL(lu_factor_vjp, 32, 32, nullptr),
    KERNEL(lu_factor_jvp, 32, 32, nullptr),
    KERNEL(slogdet, 32, 32, factored),
    KERNEL(slogdet_vjp, 32, 32, nullptr),
    KERNEL(slogdet_jvp, 32, 32, matrix),
    KERNEL(matmul, 6, 32, nullptr),
    KERNEL(matmul_vjp, 12, 24, nullptr),
    KERNEL(matmul_jvp, 6, 32, nullptr),
    KERNEL(norm, 32, 32, norm_by_svd),
    KERNEL(norm_vjp, 4, 4, nullptr),
    KERNEL(norm_jvp, 32, 32, nullptr),
    KERNEL(pinv, 32, 32, pinv_by_svd),
    KERNEL(pinv_vjp, 32, 32, three_smaller),
    KERNEL(pinv_jvp, 32, 32, three_smaller),
    KERNEL(qr, 32, 32, reflected),
    KERNEL(qr_vjp, 32, 32, thin_qr),
    KERNEL(qr_jvp, 32, 32, thin_qr),
    KERNEL(solve, 32, 32, factored),
    KERNEL(solve_vjp, 32, 32, solution),
    KERNEL(solve_jvp, 32, 32, nullptr),
    KERNEL(svd, 32, 32, bidiagonal),
    KERNEL(svd_vjp, 32, 32, thin_svd),
    KERNEL(svd_jvp, 24, 32, thin_svd),
    KERNEL_BY(svdvals, svd, 32, 32, bidiagonal),
    KERNEL(solve_triangular, 32, 32, nullptr),
    KERNEL(solve_triangular_vjp, 32, 32, solution),
    KERNEL(solve_triangular_jvp, 32, 32, nullptr),
};

}  // namespace

extern const matkern::LaneVariant variant;
const matkern::LaneVariant variant = {NAME,        BYTES,         kernels, sizeof(kernels) / sizeof(kernels[0]),
                                      pack<BYTES>, unpack<BYTES>, BYTES > 16 ? gemm : nullptr};

}  // namespace LANES
