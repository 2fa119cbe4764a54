// Channels moved between results of different width: what a concatenation does, and a split.
#include "../index.cuh"

// Channels [from_at, from_at + c) of rows of `from_width` to [to_at, to_at + c) of rows of `to_width`;
// added to what is there, if more is not 0. n = rows·c.
extern "C" __global__ void move_channels(u64 n, u32 c, u32 from_at, u32 from_width, u32 to_at, u32 to_width, u32 more,
                                         const float *from, float *to) {
  INDEX(n);
  const u64 row = i / c;
  const u32 ch = i % c;
  float *out = to + row * to_width + to_at + ch;
  const float v = from[row * from_width + from_at + ch];
  *out = more ? *out + v : v;
}
