// An update is one launch over all variables, after those of slim and clip. What is done to a variable stands in `kinds`: bit 0 = it is updated,
// bit 1 = it decays, bit 2 = it is a γ, bit 3 = it is the head's, which has the learning rate `lr`, the others
// `body_lr`. 256 threads a block.
#include "index.cuh"

// g += λ · sign γ.
extern "C" __global__ void slim(u32 n, const unsigned char *kinds, const float *p, float lambda, float *g) {
  EACH(n);
  if (kinds[i] & 4) g[i] += p[i] > 0.f ? lambda : p[i] < 0.f ? -lambda : 0.f;
}

// Σ of 256 threads' doubles, in thread 0: a tree within each warp, then over the warps.
static __device__ double block_sum(double v) {
  __shared__ double warps[8];
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  double sum = 0.;
  for (u32 w = 0; w < 8; ++w) sum += warps[w];
  return sum;
}

// Parts of Σ g² of what is updated, one of each block: thread i takes every gridDim.x · 256th value.
extern "C" __global__ void square_partials(u32 n, const unsigned char *kinds, const float *g, double *partials) {
  double sum = 0.;
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256)
    if (kinds[i] & 1) sum += (double)g[i] * g[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// The factor that brings a gradient of this norm to `clip` at most; a block.
extern "C" __global__ void clip_scale(u32 parts, const double *partials, float clip, float *scale) {
  double sum = 0.;
  for (u32 i = threadIdx.x; i < parts; i += 256) sum += partials[i];
  sum = block_sum(sum);
  const float factor = clip / ((float)sqrt(sum) + 1e-6f);
  // A norm that is no number must not pass as a factor of 1.
  if (threadIdx.x == 0) scale[0] = factor > 1.f ? 1.f : factor;
}

// average += share · (now − average), where there is one.
static __device__ void follow(float *average, u32 i, float share, float now) {
  if (average) average[i] += share * (now - average[i]);
}

extern "C" __global__ void sgd(u32 n, const unsigned char *kinds, const float *grad, const float *scale, float lr,
                               float body_lr, float momentum, float decay, float *p, float *m, float share,
                               float *average) {
  EACH(n);
  float now = p[i];
  if (kinds[i] & 1) {
    const float g = fmaf(kinds[i] & 2 ? decay : 0.f, now, scale ? grad[i] * scale[0] : grad[i]);
    const float next = fmaf(momentum, m[i], g);
    m[i] = next;
    now -= (kinds[i] & 8 ? lr : body_lr) * fmaf(momentum, next, g);
    p[i] = now;
  }
  follow(average, i, share, now);
}

// correct1 = 1 − β₁ᵗ, correct2 = √(1 − β₂ᵗ), of the steps t that the head, or the body, has been updated in.
extern "C" __global__ void adamw(u32 n, const unsigned char *kinds, const float *grad, const float *scale, float lr,
                                 float body_lr, float beta1, float beta2, float epsilon, float decay, float correct1,
                                 float correct2, float body_correct1, float body_correct2, float *p, float *m,
                                 float *v, float share, float *average) {
  EACH(n);
  float now = p[i];
  if (kinds[i] & 1) {
    const float g = scale ? grad[i] * scale[0] : grad[i];
    const float first = fmaf(beta1, m[i], (1.f - beta1) * g), second = fmaf(beta2, v[i], (1.f - beta2) * g * g);
    m[i] = first;
    v[i] = second;
    const bool head = kinds[i] & 8;
    const float own_lr = head ? lr : body_lr, by_first = head ? correct1 : body_correct1;
    const float keep = 1.f - own_lr * (kinds[i] & 2 ? decay : 0.f), by_second = head ? correct2 : body_correct2;
    now = now * keep - own_lr / by_first * first / (sqrtf(second) / by_second + epsilon);
    p[i] = now;
  }
  follow(average, i, share, now);
}
