// The sum of two results.
#include "../fours.cuh"

extern "C" __global__ void add(u32 n, const float *a, const float *b, float lo, float hi, float *y) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> v = load<V>(a + at);
    const Floats<V> w = load<V>(b + at);
    for (u32 j = 0; j < V; ++j) v.v[j] = clamped(v.v[j] + w.v[j], lo, hi);
    store<V>(y + at, v);
  });
}
