// gemm.cpp for those who only call it.
#pragma once
#include "../product.h"

namespace LANES {

// Makes C, or leaves it to BLAS and returns false.
bool gemm(const matkern_product &p);

}  // namespace LANES
