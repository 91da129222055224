// gemm.cpp, trsm.cpp, gemv.cpp and dense.cpp for those who only call them. What returns false is left to the caller.
#pragma once
#include <cstddef>

#include "../level3.h"

namespace LANES {

constexpr bool HAS_GEMM = BYTES > 16;   // no product fits others, on which it was not measured
bool gemm_fits(const matkern_product &p);
bool gemm(const matkern_product &p);
bool trsm(const matkern_system &p);

bool mirror(char dtype, std::ptrdiff_t n, void *a);     // as in level3.h, like what follows
std::ptrdiff_t skew_quotients(char dtype, std::ptrdiff_t n, double apart, const void *w, void *m);
double sum_of_squares(char dtype, std::ptrdiff_t count, const void *a);

void gemv(char dtype, std::ptrdiff_t m, std::ptrdiff_t n, const void *a, std::ptrdiff_t lda, const void *x, void *y,
          const void *v, void *w);
void hemv(char dtype, std::ptrdiff_t n, std::ptrdiff_t first, std::ptrdiff_t last, const void *a, std::ptrdiff_t lda,
          const void *x, void *y);

}  // namespace LANES
