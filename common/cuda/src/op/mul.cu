// The product of a map and factors: as many as it has values, or one for each channel of a picture.
#include "../index.cuh"

// y = x · factors; `picture` values of a picture of x, `gate` factors for it. n = b·picture.
extern "C" __global__ void mul(u64 n, u32 picture, u32 gate, const float *x, const float *factors, float *y) {
  INDEX(n);
  y[i] = x[i] * factors[i / picture * gate + i % picture % gate];
}

// The gradient of the factors: grad · x, summed up over the pixels that a factor is for. n = b·gate.
extern "C" __global__ void mul_gate(u64 n, u32 picture, u32 gate, const float *grad, const float *x, float *out) {
  INDEX(n);
  const u64 b = i / gate;
  float sum = 0.f;
  for (u32 at = i % gate; at < picture; at += gate) sum += grad[b * picture + at] * x[b * picture + at];
  out[i] = sum;
}
