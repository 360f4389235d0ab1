# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The kernels of one (instruction-set level, element type) pair.

CMake builds this file once a pair; simd.h holds all that differs between them. An entry point
takes arrays that ops has checked, turns them into pointers, drops the interpreter's lock and
runs; its last argument is the number of threads. README.md beside this file is the contract.
"""

cimport cython
cimport numpy as cnp
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, NAN, ceil, pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

# real_t and vec_t are declared as double to Cython so that it never rounds a scalar argument of
# the double modules to float; C sees their true types. A literal is a C double: make it a real_t
# variable before it meets a vec_t.
cdef extern from "simd.h" nogil:
    ctypedef double real_t
    ctypedef double vec_t
    ctypedef double wide_t
    ctypedef long mask_t
    ctypedef long lane_t
    ctypedef long lanes_t
    enum: VL
    enum: WL
    enum: NV
    enum: MR
    enum: NR
    enum: KC
    enum: MC
    enum: LDA
    const bint DOUBLE_REAL
    vec_t vload(const real_t *p)
    void vstore(real_t *p, vec_t v)
    vec_t vzero()
    vec_t vsplat(real_t x)
    vec_t vselect(mask_t m, vec_t a, vec_t b)
    mask_t vless(vec_t a, vec_t b)
    mask_t vequal(vec_t a, vec_t b)
    vec_t vselect_less(vec_t a, vec_t b, vec_t p, vec_t q)
    vec_t vselect_at_most(vec_t a, vec_t b, vec_t p, vec_t q)
    vec_t vmax(vec_t a, vec_t b)
    vec_t vrelu(vec_t x)
    real_t relu1(real_t x)
    real_t sqrt1(real_t x)
    real_t vsum(vec_t v)
    vec_t veven(vec_t a, vec_t b)
    vec_t vodd(vec_t a, vec_t b)
    vec_t vnext(vec_t v)
    vec_t vprevious(vec_t v)
    vec_t vlower(vec_t a, vec_t b)
    vec_t vupper(vec_t a, vec_t b)
    mask_t vbeats(vec_t v, vec_t best)
    vec_t vmaxnan(vec_t best, vec_t v)
    mask_t iload(const lane_t *p)
    void istore(lane_t *p, mask_t v)
    mask_t isplat(lane_t x)
    mask_t iselect(mask_t m, mask_t a, mask_t b)
    mask_t iequal(mask_t a, mask_t b)
    mask_t imax(mask_t a, mask_t b)
    mask_t iload32(const int32_t *p)
    void istore32(int32_t *p, mask_t v)
    mask_t iload32_first(const int32_t *p, int n)
    vec_t vadd_equal(vec_t sum, mask_t a, mask_t b, vec_t v)
    void prefetch_ahead(const void *p)
    void prefetch_near(const void *p)
    void prefetch_far(const void *p)
    vec_t vload_ahead(const real_t *p)
    void vstore_ahead(real_t *p, vec_t v)
    void vtranspose(const real_t *src, Py_ssize_t src_stride, real_t *dst, Py_ssize_t dst_stride)
    void prefetch_run(const real_t *p, Py_ssize_t n)
    void prefetch_for_write(const real_t *p, Py_ssize_t n)
    vec_t vmin(vec_t a, vec_t b)
    vec_t vabs(vec_t x)
    vec_t vcopysign(vec_t a, vec_t b)
    const bint RECIPROCAL
    const bint LOOKUP
    const double SIXTEENTHS
    const float[6][32] tanh_table
    const float[6][32] normal_tail_table
    vec_t vload_first(const real_t *p, int n, vec_t rest)
    void copy_few(const real_t *src, real_t *dst, Py_ssize_t n)
    void vstore_first(real_t *p, int n, vec_t v)
    lanes_t vlanes(Py_ssize_t begin, Py_ssize_t end)
    vec_t vload_some(const real_t *p, lanes_t lanes)
    vec_t vload_or(const real_t *p, lanes_t lanes, vec_t rest)
    mask_t iload32_some(const int32_t *p, lanes_t lanes)
    void vstore_some(real_t *p, lanes_t lanes, vec_t v)
    vec_t vload_even(const real_t *p, int n)
    void vstore_even(real_t *p, int n, vec_t v)
    real_t vfirst(vec_t v)
    real_t vmax_lane(vec_t v)
    bint vis_zero(vec_t v)
    wide_t wide_of(vec_t low, vec_t high)
    vec_t whalf(wide_t x, int i)
    wide_t wload(const real_t *p)
    wide_t wload_ahead(const real_t *p)
    void wstore(real_t *p, wide_t x)
    void wstore_ahead(real_t *p, wide_t x)
    wide_t wload_first(const real_t *p, int n, wide_t rest)
    void wstore_first(real_t *p, int n, wide_t x)
    wide_t wzero()
    wide_t wsplat(real_t x)
    wide_t wmax(wide_t a, wide_t b)
    wide_t wmin(wide_t a, wide_t b)
    wide_t wselect_less(wide_t a, wide_t b, wide_t p, wide_t q)
    wide_t wscale_unless_less(wide_t a, wide_t b, wide_t x, wide_t n)
    wide_t wselect_equal(wide_t a, wide_t b, wide_t p, wide_t q)
    wide_t wabs(wide_t x)
    wide_t wsigned(wide_t a, wide_t b)
    wide_t whead(wide_t x)
    wide_t wround(wide_t x)
    wide_t wscale(wide_t x, wide_t n)
    wide_t wsplit(wide_t x, wide_t *e)
    wide_t wreciprocal(wide_t b)
    wide_t wquotient(wide_t a, wide_t b)
    wide_t wproduct_rest(wide_t a, wide_t b, wide_t product)
    wide_t wroot(wide_t u)
    wide_t wlookup(wide_t u, const float *row)
    const bint CAN_STREAM
    void stream(const real_t *source, real_t *to, Py_ssize_t n)
    void end_stream()
    void *opaque(void *f)
    void flush_denormals()
    void flush_denormals_if(bint wanted)

cdef extern from "micro_kernel.h" nogil:
    enum: STRIDE
    ctypedef struct ahead_t:
        const real_t *next
        Py_ssize_t pieces, left, run, jump
        const real_t *c
        Py_ssize_t c_stride, c_rows
        Py_ssize_t near
        const real_t *stream
        Py_ssize_t pace
    void tile_of_rows(int mr, Py_ssize_t cols, Py_ssize_t kc, const real_t *a, Py_ssize_t row,
                      const real_t *b, Py_ssize_t ldb, real_t *out, Py_ssize_t ld, bint add,
                      ahead_t *ahead)
    void brief_tile(int mr, Py_ssize_t kc, const real_t *a, Py_ssize_t row, const real_t *b,
                    Py_ssize_t ldb, real_t *out, Py_ssize_t ld, bint add, ahead_t *ahead)
    void copying_tile(int mr, Py_ssize_t kc, const real_t *a, Py_ssize_t row, const real_t *b,
                      Py_ssize_t ldb, real_t *copy, real_t *out, Py_ssize_t ld, bint add,
                      ahead_t *ahead)
    void tile_of_columns(int mr, Py_ssize_t cols, Py_ssize_t kc, const real_t *a, Py_ssize_t step,
                         const real_t *b, Py_ssize_t ldb, real_t *out, Py_ssize_t ld, bint add,
                         ahead_t *ahead)

cdef extern from "winograd_product.h" nogil:
    ctypedef struct fetch_t:
        const real_t *far
        const real_t *later
        Py_ssize_t turn, far_pace
        const real_t *c
        Py_ssize_t c_stride, c_rows
        const real_t *stream
        Py_ssize_t pace
    void chain_product(int mr, Py_ssize_t cols, Py_ssize_t kc, const real_t *a, Py_ssize_t lda,
                       const real_t *b, const real_t *before, Py_ssize_t ld_before, real_t *out,
                       fetch_t *fetch)
    void part_product(int mr, Py_ssize_t cols, Py_ssize_t kc, const real_t *a, Py_ssize_t lda,
                      const real_t *b, Py_ssize_t ldb, const real_t *before, Py_ssize_t ld_before,
                      real_t *out, Py_ssize_t ld, fetch_t *fetch)

cdef extern from "dot_kernel.h" nogil:
    enum: DOT_ROWS
    enum: DOT_COLS
    void dot_tile(int rows, int cols, Py_ssize_t kc, const real_t *a, Py_ssize_t lda,
                  const real_t *b, Py_ssize_t ldb, real_t *tile)

cdef extern from "direct_kernel.h" nogil:
    ctypedef struct direct_t:
        Py_ssize_t taps, run, ld, step, y_ld
        bint relu
    void direct_tile(int mr, const direct_t *c, const real_t *x, const real_t *w,
                     const real_t *bias, real_t *y, Py_ssize_t cols)
    void direct_weight_tile(int mr, int lines, const direct_t *c, const real_t *x,
                            Py_ssize_t x_row, const real_t *dy, Py_ssize_t rows,
                            Py_ssize_t pixels, real_t *out, Py_ssize_t out_line, Py_ssize_t cols)

cdef extern from "pool_triples.h" nogil:
    bint MASKED_LANES
    ctypedef struct triples_t:
        Py_ssize_t height, width, rows, columns, top, left, low, high, scale_step
        const real_t *scale
        const real_t *edge
    void pool_triples(const triples_t *c, bint maximum, int step, const real_t *x, real_t *y,
                      Py_ssize_t p, Py_ssize_t end)

cdef extern from "pool_maxima.h" nogil:
    ctypedef struct maxima_t:
        Py_ssize_t height, width, rows, columns, top, left
    bint spread_maxima(const maxima_t *c, int step, const real_t *dy, const int32_t *at,
                       Py_ssize_t place, Py_ssize_t places, real_t *dx, Py_ssize_t h,
                       Py_ssize_t end)

cdef extern from "small_planes.h" nogil:
    enum: PAIR_ROWS
    const bint ROW_PAIRS
    ctypedef struct small_planes_t:
        real_t *x
        real_t *y
        const real_t *w
        const real_t *bias
        Py_ssize_t channels, height, width, columns
        Py_ssize_t w_filter, w_row, w_tap
    void set_row(small_planes_t *c)
    void set_pairs(small_planes_t *c)
    void rows_forward(const small_planes_t *c, bint relu, Py_ssize_t begin, Py_ssize_t end)
    void rows_weight_grad(const small_planes_t *c, Py_ssize_t k, Py_ssize_t batch, real_t *out)
    void pairs_forward(const small_planes_t *c, int step, bint relu, Py_ssize_t begin,
                       Py_ssize_t end)
    void pairs_input_grad(const small_planes_t *c, Py_ssize_t begin, Py_ssize_t end)
    void pairs_weight_grad(const small_planes_t *c, int step, Py_ssize_t k, Py_ssize_t batch,
                           real_t *out)

include "common.pxi"
include "engine.pxi"
include "gemm.pxi"
include "conv_shape.pxi"
include "window.pxi"
include "conv_store.pxi"
include "conv_weights.pxi"
include "conv.pxi"
include "conv_input_grad.pxi"
include "conv_weight_grad.pxi"
include "im2col.pxi"
include "depthwise_planes.pxi"
include "depthwise_small.pxi"
include "depthwise_pixels.pxi"
include "depthwise.pxi"
include "winograd_lines.pxi"
include "winograd_planes.pxi"
include "winograd_filters.pxi"
include "depthwise_weight_planes.pxi"
include "depthwise_weight_pixels.pxi"
include "depthwise_weight.pxi"
include "direct_pixels.pxi"
include "direct_planes.pxi"
include "direct.pxi"
include "direct_weight.pxi"
include "winograd.pxi"
include "winograd_run.pxi"
include "winograd_weight.pxi"
include "pool.pxi"
include "pool_taps.pxi"
include "pool_planes.pxi"
include "pool_triples.pxi"
include "pool_planes_indices.pxi"
include "pool_pixels.pxi"
include "pool_pixels_backward.pxi"
include "pool_planes_backward.pxi"
include "pool_planes_maxima.pxi"
include "pool_forward.pxi"
include "pool_lines.pxi"
include "pool_backward.pxi"
include "pool_plain.pxi"
include "pool_short_rows.pxi"
include "adaptive_pool.pxi"
include "interpolate.pxi"
include "math.pxi"
include "elementwise.pxi"
include "activation.pxi"
include "softmax.pxi"
include "loss.pxi"
include "norm.pxi"
include "norm_backward.pxi"
include "dropout.pxi"
include "optim.pxi"
include "peak.pxi"
