// The sum of two results.
#include "../fours.cuh"
#include "../slide.cuh"

extern "C" __global__ void add(u32 n, const float *a, const float *b, float lo, float hi, float *y) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> v = load<V>(a + at);
    const Floats<V> w = load<V>(b + at);
    for (u32 j = 0; j < V; ++j) v.v[j] = clamped(v.v[j] + w.v[j], lo, hi);
    store<V>(y + at, v);
  });
}

// The same of results of which one or both are batch norms that are never stored: a · scale + shift, where its scale is
// not null. n = rows · (c / lanes).
extern "C" __global__ void add_normalized(u32 n, u32 lanes, Divisor by_c, const float *a, const float *scale_a,
                                          const float *shift_a, const float *b, const float *scale_b,
                                          const float *shift_b, float lo, float hi, float *y) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 ch;
    divide(i, by_c, &ch);
    Floats<V> v = load<V>(a + i * V), w = load<V>(b + i * V);
    const auto normalize = [&](Floats<V> &x, const float *scale, const float *shift) {
      if (!scale) return;
      const Floats<V> factor = load<V>(scale + ch * V), summand = load<V>(shift + ch * V);
      for (u32 j = 0; j < V; ++j) x.v[j] = fmaf(x.v[j], factor.v[j], summand.v[j]);
    };
    normalize(v, scale_a, shift_a);
    normalize(w, scale_b, shift_b);
    for (u32 j = 0; j < V; ++j) v.v[j] = clamped(v.v[j] + w.v[j], lo, hi);
    store<V>(y + i * V, v);
  });
}
