// Results and gradients as plain values, whatever operation they belong to; a thread per four of them.
#include "fours.cuh"

extern "C" __global__ void clamp(u32 n, const float *x, float lo, float hi, float *y) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> v = load<V>(x + at);
    for (u32 j = 0; j < V; ++j) v.v[j] = clamped(v.v[j], lo, hi);
    store<V>(y + at, v);
  });
}

// The gradient where y is inside the bounds, else 0, in place.
extern "C" __global__ void mask(u32 n, const float *y, float lo, float hi, float *grad) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> v = load<V>(y + at);
    Floats<V> g = load<V>(grad + at);
    for (u32 j = 0; j < V; ++j) g.v[j] = inside(v.v[j], lo, hi, g.v[j]);
    store<V>(grad + at, g);
  });
}

extern "C" __global__ void accumulate(u32 n, const float *v, float *sum) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    const Floats<V> more = load<V>(v + at);
    Floats<V> s = load<V>(sum + at);
    for (u32 j = 0; j < V; ++j) s.v[j] += more.v[j];
    store<V>(sum + at, s);
  });
}

extern "C" __global__ void fill(u32 n, float v, float *y) {
  by_fours(n, [&](u32 at, auto width) {
    constexpr u32 V = decltype(width)::value;
    Floats<V> all;
    for (u32 j = 0; j < V; ++j) all.v[j] = v;
    store<V>(y + at, all);
  });
}
