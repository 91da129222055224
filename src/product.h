/* One product of matrices, as blas.pxd hands it to BLAS, and what it is lent for that. */
#pragma once
#include <stdint.h>

typedef struct matkern_product {    /* of one dtype: C := alpha op(A) op(B) + beta C */
    char dtype;                     /* BLAS's letter */
    char hermitian;                 /* A is, and this its triangle as BLAS sees it; 0: A is any matrix */
    char triangle;                  /* of C that is made, L or U; 0: all of C */
    int strict;                     /* that triangle is without its diagonal */
    char transa, transb;
    int64_t m, n, k, lda, ldb, ldc;
    char *a, *b, *c;
    void *alpha, *beta;
    int64_t pieces;                 /* that threads share it in */
} matkern_product;

typedef struct matkern_products {   /* of gufunc.pyx, for the other modules */
    void (*share)(int64_t pieces, void (*body)(void *context, int64_t first, int64_t last), void *context);
    int (*small)(const matkern_product *product);   /* whether it was small enough to be made here */
} matkern_products;
