// What products of patches and weights need besides the products, over NHWC activations; a thread per four channels.
// Every sum is one thread's, in a fixed order.
#include "../fours.cuh"
#include "../slide.cuh"

// f32 → the bf16 nearest, of two the even one; subnormal numbers become zeros and NaN stays NaN, as the CPU engine and
// its instruction VCVTNEPS2BF16 have it.
static __device__ inline u32 bf16(float v) {
  const u32 bits = __float_as_uint(v), magnitude = bits & 0x7fffffffu;
  u32 rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  if (magnitude < 0x00800000u) rounded = bits & 0x80000000u;
  if (magnitude > 0x7f800000u) rounded = bits | 0x00400000u;
  return rounded >> 16;
}

// As factors of a product: as they are, or rounded, to an address that is a multiple of V of them.
template <u32 V> static __device__ inline void store_factors(float *to, const Floats<V> &x) { store<V>(to, x); }

template <u32 V> static __device__ inline void store_factors(unsigned short *to, const Floats<V> &x) {
  if constexpr (V == 4) *(uint2 *)to = make_uint2(bf16(x.v[0]) | bf16(x.v[1]) << 16, bf16(x.v[2]) | bf16(x.v[3]) << 16);
  else
    for (u32 j = 0; j < V; ++j) to[j] = bf16(x.v[j]);
}

// x, at any address, to out, which begins at a multiple of 8 bytes.
extern "C" __global__ void to_bf16(u32 n, const float *x, unsigned short *out) {
  by_fours(n, [&](u32 at, auto width) {
    const u32 V = decltype(width)::value;
    store_factors<V>(out + at, gather<V>(x + at));
  });
}

// Thread i of b·oh·ow·k·k·(c / lanes).
template <u32 V, u32 K, u32 S, class T>
static __device__ void patch(u32 i, const Slide &s, const float *x, T *out) {
  const u32 stride = S ? S : s.stride;
  u32 ch, kx, ky, ox, oy;
  u32 row = divide(i, s.by_c, &ch);
  if constexpr (K > 0) {
    kx = row % K, row /= K, ky = row % K, row /= K;
  } else {
    row = divide(divide(row, s.by_k, &kx), s.by_k, &ky);
  }
  const u32 b = divide(divide(row, s.by_ow, &ox), s.by_oh, &oy);
  // What is left of a picture, or above it, wraps to far beyond its other side.
  const u32 y = oy * stride + ky - s.pad, xx = ox * stride + kx - s.pad;
  Floats<V> values = {};
  if (y < s.h && xx < s.w) values = load<V>(x + index_of(s, b, y, xx, ch * V));
  store_factors<V>(out + i * V, values);
}

// x [b, h, w, c] → patches [b·oh·ow, k·k·c]; n = their number of values / lanes.
extern "C" __global__ void patches(u32 n, Slide s, const float *x, float *out) {
  EACH(n);
  BY_WINDOW(s, patch, i, s, x, out);
}

// The same, rounded.
extern "C" __global__ void patches_bf16(u32 n, Slide s, const float *x, unsigned short *out) {
  EACH(n);
  BY_WINDOW(s, patch, i, s, x, out);
}

// Thread i of b·h·w·(c / lanes).
template <u32 V, u32 K, u32 S>
static __device__ void together(u32 i, const Slide &s, const float *grad, float *dx) {
  const u32 k = K ? K : s.k;
  const Place at = pixel(i, s);
  Floats<V> sum = {};
  over_readers<K, S>(at, s, [&](u32 oy, u32 ox, u32 ky, u32 kx) {
    const u32 row = (at.b * s.oh + oy) * s.ow + ox;
    const Floats<V> part = load<V>(grad + ((row * k + ky) * k + kx) * s.c + at.ch);
#pragma unroll
    for (u32 j = 0; j < V; ++j) sum.v[j] += part.v[j];
  });
  store<V>(dx + i * V, sum);
}

// The gradient of x from that of its patches; n = b·h·w·(c / lanes).
extern "C" __global__ void patches_back(u32 n, Slide s, const float *grad, float *dx) {
  EACH(n);
  BY_WINDOW(s, together, i, s, grad, dx);
}

// y = clamp(y + bias) in place, rows of c; bias may be null; n = rows·(c / lanes), by_c = c / lanes.
extern "C" __global__ void bias_clamp(u32 n, u32 lanes, Divisor by_c, const float *bias, float lo, float hi, float *y) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    const u32 V = decltype(width)::value;
    u32 ch;
    divide(i, by_c, &ch);
    Floats<V> v = load<V>(y + i * V), summand = {};
    if (bias) summand = gather<V>(bias + ch * V);
    for (u32 j = 0; j < V; ++j) v.v[j] = clamped(v.v[j] + summand.v[j], lo, hi);
    store<V>(y + i * V, v);
  });
}
