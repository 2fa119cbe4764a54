// What kernels share: names of types, which value a thread has, and values by fours. nvcc, NVRTC, and g++ with the
// shim of tools/cuda take the same text.
#pragma once
typedef unsigned int u32;
typedef unsigned long long u64;

// i is this thread's of n values, 256 threads a block; a thread beyond them is done.
#define INDEX(n)                                                      \
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= (n)) return

// The same in 32 bits, for n below 2^31: a 64-bit multiplication is four instructions, a division eighty.
#define EACH(n)                                      \
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= (n)) return

// v within the bounds; what is no number stays none (fminf and fmaxf would make a bound of it, and hide it).
static __device__ inline float clamped(float v, float lo, float hi) { return v < lo ? lo : v > hi ? hi : v; }

// A gradient where the result v is inside its bounds, else 0.
static __device__ inline float inside(float v, float lo, float hi, float grad) { return v > lo && v < hi ? grad : 0.f; }

#define WHOLE_WARP 0xffffffffu

// The sum of v over a warp, in all of its threads.
static __device__ inline double warp_sum(double v) {
  for (u32 step = 16; step; step /= 2) v += __shfl_xor_sync(WHOLE_WARP, v, step);
  return v;
}

// V floats of neighbouring channels.
template <u32 V> struct Floats {
  float v[V];
};

// From an address that is a multiple of 4 · V bytes.
template <u32 V> static __device__ inline Floats<V> load(const float *p) {
  Floats<V> out;
  if constexpr (V == 4) {
    const float4 q = *(const float4 *)p;
    out.v[0] = q.x, out.v[1] = q.y, out.v[2] = q.z, out.v[3] = q.w;
  } else {
    for (u32 j = 0; j < V; ++j) out.v[j] = p[j];
  }
  return out;
}

// From any address: parameters lie wherever those before them end.
template <u32 V> static __device__ inline Floats<V> gather(const float *p) {
  Floats<V> out;
#pragma unroll
  for (u32 j = 0; j < V; ++j) out.v[j] = p[j];
  return out;
}

template <u32 V> static __device__ inline void store(float *p, const Floats<V> &x) {
  if constexpr (V == 4) *(float4 *)p = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  else
    for (u32 j = 0; j < V; ++j) p[j] = x.v[j];
}
