// Channels moved between results of different width: what a concatenation does, and a split.
#include "../fours.cuh"
#include "../slide.cuh"

// Channels [from_at, from_at + c) of rows of `from_width` to [to_at, to_at + c) of rows of `to_width`;
// added to what is there, if more is not 0; n = rows · (c / lanes).
extern "C" __global__ void move_channels(u32 n, u32 lanes, Divisor by_c, u32 from_at, u32 from_width, u32 to_at,
                                         u32 to_width, u32 more, const float *from, float *to) {
  EACH(n);
  by_lanes(lanes, [&](auto width) {
    constexpr u32 V = decltype(width)::value;
    u32 ch;
    const u32 row = divide(i, by_c, &ch);
    float *out = to + row * to_width + to_at + ch * V;
    Floats<V> v = load<V>(from + row * from_width + from_at + ch * V);
    if (more) {
      const Floats<V> there = load<V>(out);
      for (u32 j = 0; j < V; ++j) v.v[j] += there.v[j];
    }
    store<V>(out, v);
  });
}
