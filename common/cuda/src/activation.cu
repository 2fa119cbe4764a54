// Functions of each value, sums of two, channels moved; twin of engine/src/activation.rs and channels.rs.
// One thread per value, 256 a block.
typedef unsigned int u32;
typedef unsigned long long u64;

#define INDEX(n)                                                      \
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= (n)) return

extern "C" __global__ void clamp(u64 n, const float *x, float lo, float hi, float *y) {
  INDEX(n);
  y[i] = fminf(fmaxf(x[i], lo), hi);
}

// The gradient where y is inside the bounds, else 0, in place.
extern "C" __global__ void mask(u64 n, const float *y, float lo, float hi, float *grad) {
  INDEX(n);
  if (!(y[i] > lo && y[i] < hi)) grad[i] = 0.f;
}

extern "C" __global__ void add(u64 n, const float *a, const float *b, float lo, float hi, float *y) {
  INDEX(n);
  y[i] = fminf(fmaxf(a[i] + b[i], lo), hi);
}

extern "C" __global__ void accumulate(u64 n, const float *v, float *sum) {
  INDEX(n);
  sum[i] += v[i];
}

extern "C" __global__ void fill(u64 n, float v, float *y) {
  INDEX(n);
  y[i] = v;
}

// hardswish (which = 0) and silu (1).
extern "C" __global__ void smooth_forward(u64 n, u32 which, const float *x, float *y) {
  INDEX(n);
  const float v = x[i];
  y[i] = which ? v / (1.f + expf(-v)) : v * fminf(fmaxf(v + 3.f, 0.f), 6.f) / 6.f;
}

// Their gradients, in place.
extern "C" __global__ void smooth_backward(u64 n, u32 which, const float *x, float *grad) {
  INDEX(n);
  const float v = x[i];
  if (which) {
    const float s = 1.f / (1.f + expf(-v));
    grad[i] *= s * (1.f + v * (1.f - s));
  } else {
    grad[i] *= v <= -3.f ? 0.f : v < 3.f ? v / 3.f + 0.5f : 1.f;
  }
}

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

// Output channel j · groups + k is input channel k · (c / groups) + j; turned round, if back is not 0.
extern "C" __global__ void shuffle(u64 n, u32 c, u32 groups, u32 back, const float *x, float *y) {
  INDEX(n);
  const u64 row = i / c;
  const u32 ch = i % c, source = ch % groups * (c / groups) + ch / groups;
  if (back)
    y[row * c + source] = x[i];
  else
    y[i] = x[row * c + source];
}
