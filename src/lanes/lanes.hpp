// Small matrices, one to a lane of a SIMD register: what the batch layer sees of them.
//
// A lane function does `width` matrices at once. Its operands are those of the matrix function of the same kernel, packed:
// entry e of matrix i is at [e * width + i], a complex one has its real parts at [2 e width + i], then its imaginary ones.
// It returns the lanes (bit i for matrix i) that the matrix function is to do again, because they fail, or may; the batch
// layer adds those with a number that is not finite. So what is an error, and NaN, is decided in one place.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../level3.h"

namespace matkern {

using LaneFunction = uint64_t (*)(void **x, const ptrdiff_t *n, const int *option, void *work);

struct LaneKernel {
    const char *name;       // of the kernel
    int dtype;              // bit 0: double precision, bit 1: complex
    LaneFunction run;
    int most;               // the largest n for which it was measured to be faster than the matrix function
    int few;                // where some axis of a matrix is no longer than this, up to 32 rows all the same
    ptrdiff_t (*workspace)(const ptrdiff_t *n);  // elements of the dtype, per matrix; NULL: none
};

// An operand of a batch, and where its matrices are packed: those of a block one to a lane, blocks `room` bytes apart.
struct LaneOperand {
    int size, parts;        // bytes of a component of a number, and how many it has
    bool integers;
    ptrdiff_t rows, columns;
    ptrdiff_t row, column;  // bytes from one to the next
    ptrdiff_t spacing;      // bytes from one matrix to the next, if that is the same everywhere
    void *lanes;
    ptrdiff_t room;
};

// The same source, compiled for one instruction set.
struct LaneVariant {
    const char *name;       // of the instruction set
    int bytes;              // of its registers
    const LaneKernel *kernels;
    int count;
    // Packs blocks of matrices that are at each[i], or `spacing` apart from `first` on where that is NULL.
    void (*pack)(const LaneOperand *operand, int width, int blocks, char *first, char *const *each);
    // The way back, of `count` matrices. Returns those with a number that is not finite (of integers none).
    uint64_t (*unpack)(const LaneOperand *operand, int width, int count, char *first, char *const *each);
    // Of one matrix: gemm.cpp, trsm.cpp, gemv.cpp and dense.cpp.
    bool (*gemm_fits)(const matkern_product &product);
    bool (*gemm)(const matkern_product &product);
    bool (*trsm)(const matkern_system &system);
    bool (*mirror)(char dtype, ptrdiff_t n, void *a);
    ptrdiff_t (*skew_quotients)(char dtype, ptrdiff_t n, double apart, const void *w, void *m);
    double (*sum_of_squares)(char dtype, ptrdiff_t count, const void *a);
    void (*gemv)(char dtype, ptrdiff_t m, ptrdiff_t n, const void *a, ptrdiff_t lda, const void *x, void *y, const void *v,
                 void *w);
    void (*hemv)(char dtype, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last, const void *a, ptrdiff_t lda, const void *x, void *y);
};

// The variants that this CPU can run, the best one last; nullptr after it. All have the same kernels.
const LaneVariant *const *lane_variants();
// The one in use, nullptr if lanes are off; the best one until it is set.
const LaneVariant *lane_variant();
void set_lane_variant(const LaneVariant *variant);
int lane_limit();  // if not 0, in place of each kernel's `most`: to measure those
void set_lane_limit(int limit);
constexpr int MOST_ROWS = 64;  // of a matrix in lanes: lu.hpp has a bit for each
int product_fits(const matkern_product *product);  // by the variant in use: level3.h
int own_product(const matkern_product *product);
int small_system(const matkern_system *system);
int mirror(char dtype, int64_t n, void *a);
int64_t skew_quotients(char dtype, int64_t n, double apart, const void *w, void *m);
int sum_of_squares(char dtype, int64_t count, const void *a, double *sum);
int has_gemv();
void gemv(char dtype, int64_t m, int64_t n, const void *a, int64_t lda, const void *x, void *y, const void *v, void *w);
void hemv(char dtype, int64_t n, int64_t first, int64_t last, const void *a, int64_t lda, const void *x, void *y);
int lane_kernel(const char *name, int dtype);  // its place among `kernels`, -1 if there is none

}  // namespace matkern
