// Values by fours, where no value knows its channel.
#pragma once
#include "index.cuh"

// A lambda's V, as C++17 has it: f(width) says 4 or 1.
template <u32 N> struct Width {
  static const u32 value = N;
};

template <class F> static __device__ inline void by_lanes(u32 lanes, F f) {
  if (lanes == 4) f(Width<4>());
  else f(Width<1>());
}

// f(at, width) for this thread's four of n values, one by one where they are the last and fewer. Buffers begin at
// multiples of 16 bytes. 256 threads a block.
template <class F> static __device__ inline void by_fours(u32 n, F f) {
  const u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (at >= n) return;
  if (n - at >= 4) f(at, Width<4>());
  else
    for (u32 k = at; k < n; ++k) f(k, Width<1>());
}
