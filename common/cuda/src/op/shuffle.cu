// Channels of several groups in turns.
#include "../index.cuh"

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
