// An update is one launch over all variables. What is done to a variable
// stands in `kinds`: bit 0 = it is updated, bit 1 = it decays, bit 2 = it is a γ, bit 3 = it is the head's, which has
// the learning rate `lr`, the others `body_lr`. 256 threads a block.
#include "index.cuh"

// g += λ · sign γ.
extern "C" __global__ void slim(u64 n, const unsigned char *kinds, const float *p, float lambda, float *g) {
  INDEX(n);
  if (kinds[i] & 4) g[i] += p[i] > 0.f ? lambda : p[i] < 0.f ? -lambda : 0.f;
}

// Parts of Σ g² of what is updated: thread i of `parts` takes `each` values from i · each.
extern "C" __global__ void square_partials(u64 n, u64 parts, u64 each, const unsigned char *kinds, const float *g,
                                           double *partials) {
  INDEX(parts);
  double sum = 0.;
  for (u64 k = i * each; k < (i + 1) * each && k < n; ++k)
    if (kinds[k] & 1) sum += (double)g[k] * g[k];
  partials[i] = sum;
}

// The factor that brings a gradient of this norm to `clip` at most.
extern "C" __global__ void clip_scale(const double *sum, float clip, float *scale) {
  scale[0] = fminf(clip / ((float)sqrt(sum[0]) + 1e-6f), 1.f);
}

extern "C" __global__ void sgd(u64 n, const unsigned char *kinds, const float *grad, const float *scale, float lr,
                               float body_lr, float momentum, float decay, float *p, float *m) {
  INDEX(n);
  if (!(kinds[i] & 1)) return;
  const float g = fmaf(kinds[i] & 2 ? decay : 0.f, p[i], scale ? grad[i] * scale[0] : grad[i]);
  m[i] = fmaf(momentum, m[i], g);
  p[i] -= (kinds[i] & 8 ? lr : body_lr) * fmaf(momentum, m[i], g);
}

// correct1 = 1 − β₁ᵗ, correct2 = √(1 − β₂ᵗ), of the steps t that the head, or the body, has been updated in.
extern "C" __global__ void adamw(u64 n, const unsigned char *kinds, const float *grad, const float *scale, float lr,
                                 float body_lr, float beta1, float beta2, float epsilon, float decay, float correct1,
                                 float correct2, float body_correct1, float body_correct2, float *p, float *m,
                                 float *v) {
  INDEX(n);
  if (!(kinds[i] & 1)) return;
  const float g = scale ? grad[i] * scale[0] : grad[i];
  m[i] = fmaf(beta1, m[i], (1.f - beta1) * g);
  v[i] = fmaf(beta2, v[i], (1.f - beta2) * g * g);
  const bool head = kinds[i] & 8;
  const float own_lr = head ? lr : body_lr, first = head ? correct1 : body_correct1;
  const float keep = 1.f - own_lr * (kinds[i] & 2 ? decay : 0.f), second = head ? correct2 : body_correct2;
  p[i] = p[i] * keep - own_lr / first * m[i] / (sqrtf(v[i]) / second + epsilon);
}

// average += share · (now − average).
extern "C" __global__ void average(u64 n, const float *now, float share, float *average) {
  INDEX(n);
  average[i] += share * (now[i] - average[i]);
}
