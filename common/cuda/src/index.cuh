// What kernels share: names of types, and which value a thread has. Only this header is included anywhere:
// nvcc, NVRTC, and g++ with the shim of tools/cuda take the same text.
#pragma once
typedef unsigned int u32;
typedef unsigned long long u64;

// i is this thread's of n values, 256 threads a block; a thread beyond them is done.
#define INDEX(n)                                                      \
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= (n)) return
