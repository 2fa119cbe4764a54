// The gradient of the mean over the picture; the mean is a sum of columns.
#include "../fours.cuh"
#include "../slide.cuh"

// dx [b, pixels, c] = grad [b, c] / pixels; n = b·pixels·(c / lanes).
extern "C" __global__ void mean_backward(u32 n, u32 lanes, Divisor by_pixels, Divisor by_c, const float *grad,
                                         float *dx) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 ch;
    const u32 b = divide(divide(i, by_c, &ch), by_pixels);
    Floats<V> v = load<V>(grad + (b * by_c.d + ch) * V);
    for (u32 j = 0; j < V; ++j) v.v[j] /= (float)by_pixels.d;
    store<V>(dx + i * V, v);
  });
}
