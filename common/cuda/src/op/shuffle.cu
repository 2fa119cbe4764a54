// Channels of several groups in turns.
#include "../slide.cuh"

// Output channel j · groups + k is input channel k · (c / groups) + j; turned round, with the other number of groups.
extern "C" __global__ void shuffle(u32 n, Divisor by_c, Divisor by_groups, const float *x, float *y) {
  EACH(n);
  u32 ch, k;
  const u32 row = divide(i, by_c, &ch), j = divide(ch, by_groups, &k), each = by_c.d / by_groups.d;
  y[i] = x[row * by_c.d + k * each + j];
}
