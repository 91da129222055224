/* A product of matrices and a triangular system, as blas.pxd hands them to BLAS, and what it is lent for that and more. */
#pragma once
#include <stdint.h>

typedef struct matkern_product {    /* of one dtype: C := alpha op(A) op(B) + beta C */
    char dtype;                     /* BLAS's letter */
    char hermitian;                 /* A is, and this its triangle as BLAS sees it; 0: A is any matrix */
    char triangle;                  /* of row-major C that is made, L or U; 0: all of C */
    int strict;                     /* that triangle is without its diagonal */
    int64_t shift;                  /* its entry (i, j) is on the triangle's diagonal for j = i + shift */
    int ours;                       /* it, or what it is a piece of, is faster in lanes/gemm.cpp; never a Hermitian one */
    char transa, transb;
    int64_t m, n, k, lda, ldb, ldc;
    char *a, *b, *c;
    void *alpha, *beta;
    const void *weights;            /* k real ones, if it `fits`: alpha op(A) diag(weights) op(B); NULL: none */
    int64_t pieces;                 /* that threads share it in */
} matkern_product;

enum { MATKERN_LARGEST_SYSTEM = 32 };   /* rows of A that lanes/trsm.cpp takes, and blas.pxd does not halve */

typedef struct matkern_system {     /* of one dtype: B := alpha op(A)^-1 B (side L) or alpha B op(A)^-1 (R) */
    char dtype;                     /* BLAS's letter */
    int product;                    /* instead: B := alpha op(A) B or alpha B op(A); not of lanes/trsm.cpp */
    char side, uplo, trans, diag;
    int64_t m, n, lda, ldb;         /* B is (m, n) */
    void *alpha;
    char *a, *b;
    int64_t pieces;                 /* that threads share it in */
} matkern_system;

typedef struct matkern_level3 {     /* of gufunc.pyx, for the other modules */
    void (*share)(int64_t pieces, void (*body)(void *context, int64_t first, int64_t last), void *context);
    int (*fits)(const matkern_product *product);        /* whether `multiply` is faster than BLAS */
    int (*multiply)(const matkern_product *product);    /* whether it was done, and is not left to BLAS */
    int (*solve)(const matkern_system *system);         /* the same */
    /* A's upper triangle := the conjugate of its lower one, its diagonal real; and whether it was done */
    int (*mirror)(char dtype, int64_t n, void *a);
    /* X_ij := (M_ij - M_ji) / 2 / (w_j - w_i) in place of M's off-diagonal entries, in so many leading rows and columns; 0 if
       w is not ascending by more than `apart`, or by too much for the dtype. Real numbers. */
    int64_t (*skew_quotients)(char dtype, int64_t n, double apart, const void *w, void *m);
    /* *sum := that of the squares of real numbers in double precision; and whether it was done */
    int (*sum_of_squares)(char dtype, int64_t count, const void *a, double *sum);
    /* What follows is of matrices in column-major order, for when `has_gemv`. y := A x + y and, as A is read, w := A^H v + w
       for A of shape (m, n); y or w may be NULL. */
    int (*has_gemv)(void);
    void (*gemv)(char dtype, int64_t m, int64_t n, const void *a, int64_t lda, const void *x, void *y, const void *v, void *w);
    /* y := what the columns first <= j < last of a Hermitian A's lower triangle contribute to A x, + y */
    void (*hemv)(char dtype, int64_t n, int64_t first, int64_t last, const void *a, int64_t lda, const void *x, void *y);
} matkern_level3;
