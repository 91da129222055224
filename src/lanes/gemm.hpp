// gemm.cpp and trsm.cpp for those who only call them. They return false if they leave it to BLAS.
#pragma once
#include "../level3.h"

namespace LANES {

constexpr bool HAS_GEMM = BYTES > 16;   // no product fits others, on which it was not measured
bool gemm_fits(const matkern_product &p);
bool gemm(const matkern_product &p);
bool trsm(const matkern_system &p);

}  // namespace LANES
