// The product of a map and factors: as many as it has values, or one for each channel of a picture.
#include "../fours.cuh"
#include "../slide.cuh"

// y = x · factors; by_picture and by_gate: values of a picture of x and factors for it, / lanes. n = b · picture / lanes.
extern "C" __global__ void mul(u32 n, u32 lanes, Divisor by_picture, Divisor by_gate, const float *x,
                               const float *factors, float *y) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 at, factor;
    const u32 b = divide(i, by_picture, &at);
    divide(at, by_gate, &factor);
    Floats<V> v = load<V>(x + i * V);
    const Floats<V> w = load<V>(factors + (b * by_gate.d + factor) * V);
    for (u32 j = 0; j < V; ++j) v.v[j] *= w.v[j];
    store<V>(y + i * V, v);
  });
}
