// gemm.cpp, trsm.cpp and gemv.cpp for those who only call them. What returns false is left to BLAS.
#pragma once
#include <cstddef>

#include "../level3.h"

namespace LANES {

constexpr bool HAS_GEMM = BYTES > 16;   // no product fits others, on which it was not measured
bool gemm_fits(const matkern_product &p);
bool gemm(const matkern_product &p);
bool trsm(const matkern_system &p);

// out := A diag(w) for A of shape (m, n) and real w
void scale_columns(char dtype, std::ptrdiff_t m, std::ptrdiff_t n, const void *a, const void *w, void *out);

// As in level3.h.
void gemv(char dtype, std::ptrdiff_t m, std::ptrdiff_t n, const void *a, std::ptrdiff_t lda, const void *x, void *y,
          const void *v, void *w);
void hemv(char dtype, std::ptrdiff_t n, std::ptrdiff_t first, std::ptrdiff_t last, const void *a, std::ptrdiff_t lda,
          const void *x, void *y);

}  // namespace LANES
