// Sums of columns, and of what other kernels left in parts.
#include "sums.cuh"

// partials [chunks, c] of term(width, at) added up, at = where in rows of c the V channels of a thread begin, V = the value
// of width: columns in grid.x, chunks in grid.y.
template <class Term> static __device__ inline void leave_sums(const Cut &cut, float *room, float *partials, Term term) {
  by_lanes(cut.lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    column_sums<V, 1>(
        cut, room, [&](u32 row, u32 ch, float(&sum)[1][V]) { term(width, row * cut.c + ch, sum[0]); },
        [&](u32, u32 ch, float v) { partials[blockIdx.y * cut.c + ch] = v; });
  });
}

// Of x [rows, c], times `factor`.
extern "C" __global__ void column_partials(Cut cut, const float *x, float factor, float *partials) {
  __shared__ float room[TREE(1)];
  leave_sums(cut, room, partials, [&](auto width, u32 at, auto &sum) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> v = load<V>(x + at);
    for (u32 j = 0; j < V; ++j) sum[j] = fmaf(v.v[j], factor, sum[j]);
  });
}

// Of a gradient where the result y is inside its bounds, which is what becomes of the gradient.
extern "C" __global__ void masked_partials(Cut cut, const float *y, float lo, float hi, float *grad, float *partials) {
  __shared__ float room[TREE(1)];
  leave_sums(cut, room, partials, [&](auto width, u32 at, auto &sum) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> v = load<V>(y + at);
    Floats<V> g = load<V>(grad + at);
    for (u32 j = 0; j < V; ++j) {
      g.v[j] = inside(v.v[j], lo, hi, g.v[j]);
      sum[j] += g.v[j];
    }
    store<V>(grad + at, g);
  });
}

// Of x · y.
extern "C" __global__ void product_partials(Cut cut, const float *x, const float *y, float *partials) {
  __shared__ float room[TREE(1)];
  leave_sums(cut, room, partials, [&](auto width, u32 at, auto &sum) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> v = load<V>(x + at), w = load<V>(y + at);
    for (u32 j = 0; j < V; ++j) sum[j] = fmaf(v.v[j], w.v[j], sum[j]);
  });
}

// out[i] = Σ partials[part · stride + i], i below n: 8 results a block.
extern "C" __global__ void sum_partials(u32 n, u32 parts, u32 stride, const float *partials, float *out) {
  combined<1>(
      n, parts, [&](u32 part, u32 i, double(&sum)[1]) { sum[0] += partials[part * stride + i]; },
      [&](u32 i, const double(&sum)[1]) { out[i] = (float)sum[0]; });
}
