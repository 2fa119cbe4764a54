// libcudnn stand-in: the three convolutions by plain loops over what the descriptions say. Only the algorithms that
// are deterministic and read NHWC are there; shapes, addresses and workspaces are checked as the library checks them.
// EMU_CUDNN=none: no algorithm for anything; bad: that is said by calling a parameter bad; late: when it is to run.
#include "emu.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
namespace {
typedef void *H;
enum { OK = 0, BAD = 2000, MISALIGNED = 2003, TOO_SMALL = 2006, UNSUPPORTED = 3000, FAILED = 5000 };
enum { FORWARD_PRECOMP = 1, DATA_1 = 1, FILTER_1 = 1, NHWC = 1, FLOAT = 0, CROSS = 1, DEFAULT_MATH = 0, FMA_MATH = 3 };
struct Tensor { int n, c, h, w; };
struct Filter { int k, c, h, w; };
struct Conv { int pad, step, math; };
struct Handle { H stream; };
unsigned long runs[3];
int bad(int status, const char *why) { fprintf(stderr, "emu: cuDNN: %s\n", why); return status; }
float factor(float v, bool cut) { return cut ? emu_tf32(v) : v; }
bool fits(const Tensor &x, const Filter &w, const Conv &v, const Tensor &y) {
  auto side = [&](int n, int k) { return (n + 2 * v.pad - k) / v.step + 1; };
  return x.n == y.n && x.c == w.c && y.c == w.k && v.step > 0 && y.h == side(x.h, w.h) && y.w == side(x.w, w.w);
}
// Bytes, so that what asks for none and what asks for some both occur.
size_t room(const Tensor &x, int way) { return way == 0 ? (x.c > 4 ? 4096 : 0) : 1024 * way; }
int size(H x, H w, H v, H y, int algo, int wanted, int way, size_t *bytes) {
  if (const char *e = getenv("EMU_CUDNN")) { if (!strcmp(e, "none")) return UNSUPPORTED; if (!strcmp(e, "bad")) return BAD; }
  if (algo != wanted) return bad(UNSUPPORTED, "an algorithm that is not deterministic, or does not read NHWC");
  if (!fits(*(Tensor *)x, *(Filter *)w, *(Conv *)v, *(Tensor *)y)) return bad(BAD, "shapes that do not fit");
  *bytes = room(*(Tensor *)x, way);
  return OK;
}
struct Run { Tensor x, y; Filter w; Conv v; bool cut; };
// Calls f(index of x, of w, of y) for all products of one sum after the other.
template <class F> void each(const Run &r, int b, int oy, int ox, int o, F f) {
  for (int ky = 0; ky < r.w.h; ++ky) for (int kx = 0; kx < r.w.w; ++kx) {
    int y = oy * r.v.step - r.v.pad + ky, xx = ox * r.v.step - r.v.pad + kx;
    if (y < 0 || y >= r.x.h || xx < 0 || xx >= r.x.w) continue;
    for (int c = 0; c < r.x.c; ++c)
      f((((size_t)b * r.x.h + y) * r.x.w + xx) * r.x.c + c, (((size_t)o * r.w.h + ky) * r.w.w + kx) * r.w.c + c);
  }
}
int run(H h, const void *alpha, const void *beta, H x, H w, H v, H y, int algo, int wanted, int way, const void *a, const void *b, void *to, void *space, size_t bytes) {
  Run r{*(Tensor *)x, *(Tensor *)y, *(Filter *)w, *(Conv *)v, ((Conv *)v)->math == DEFAULT_MATH};
  size_t needed; int status = size(x, w, v, y, algo, wanted, way, &needed); if (status) return status;
  if (const char *e = getenv("EMU_CUDNN")) if (!strcmp(e, "late")) return UNSUPPORTED;
  if (*(const float *)alpha != 1 || *(const float *)beta != 0) return bad(UNSUPPORTED, "a factor");
  if ((uint64_t)a % 16 || (uint64_t)b % 16 || (uint64_t)to % 16) return bad(MISALIGNED, "an address that is not on 16 bytes");
  if (bytes < needed || (needed && !space)) return bad(TOO_SMALL, "a workspace that is too small");
  const float *p = (const float *)a, *q = (const float *)b;
  return emu_enqueue(((Handle *)h)->stream, [=] {
    ++runs[way];
    if (needed) memset(space, 0xff, needed);
    const size_t n = way == 0 ? (size_t)r.y.n * r.y.h * r.y.w * r.y.c : way == 1 ? (size_t)r.x.n * r.x.h * r.x.w * r.x.c : (size_t)r.w.k * r.w.h * r.w.w * r.w.c;
    double *sums = new double[n]();
    for (int i = 0; i < r.y.n; ++i) for (int oy = 0; oy < r.y.h; ++oy) for (int ox = 0; ox < r.y.w; ++ox) for (int o = 0; o < r.y.c; ++o) {
      const size_t at = (((size_t)i * r.y.h + oy) * r.y.w + ox) * r.y.c + o;
      each(r, i, oy, ox, o, [&](size_t xi, size_t wi) {
        // x, w → y; grad, w → dx; x, grad → dw
        if (way == 0) sums[at] += (double)factor(p[xi], r.cut) * factor(q[wi], r.cut);
        else if (way == 1) sums[xi] += (double)factor(p[at], r.cut) * factor(q[wi], r.cut);
        else sums[wi] += (double)factor(p[xi], r.cut) * factor(q[at], r.cut);
      });
    }
    for (size_t k = 0; k < n; ++k) ((float *)to)[k] = (float)sums[k];
    delete[] sums;
  }) ? FAILED : OK;
}
}  // namespace
extern "C" {
size_t cudnnGetVersion() { return 90100; }
int cudnnCreate(H *h) { *h = new Handle{nullptr}; return OK; }
int cudnnDestroy(H h) { delete (Handle *)h; return OK; }
int cudnnSetStream(H h, H s) { ((Handle *)h)->stream = s; return OK; }
int cudnnCreateTensorDescriptor(H *d) { *d = new Tensor{}; return OK; }
int cudnnDestroyTensorDescriptor(H d) { delete (Tensor *)d; return OK; }
int cudnnSetTensor4dDescriptor(H d, int format, int type, int n, int c, int h, int w) {
  if (format != NHWC || type != FLOAT) return bad(UNSUPPORTED, "a tensor that is not NHWC of floats");
  if (n < 1 || c < 1 || h < 1 || w < 1) return bad(BAD, "a tensor of nothing");
  *(Tensor *)d = {n, c, h, w}; return OK;
}
int cudnnCreateFilterDescriptor(H *d) { *d = new Filter{}; return OK; }
int cudnnDestroyFilterDescriptor(H d) { delete (Filter *)d; return OK; }
int cudnnSetFilter4dDescriptor(H d, int type, int format, int k, int c, int h, int w) {
  if (format != NHWC || type != FLOAT) return bad(UNSUPPORTED, "filters that are not KRSC of floats");
  *(Filter *)d = {k, c, h, w}; return OK;
}
int cudnnCreateConvolutionDescriptor(H *d) { *d = new Conv{0, 1, DEFAULT_MATH}; return OK; }
int cudnnDestroyConvolutionDescriptor(H d) { delete (Conv *)d; return OK; }
int cudnnSetConvolution2dDescriptor(H d, int ph, int pw, int u, int v, int dh, int dw, int mode, int type) {
  if (ph != pw || u != v || dh != 1 || dw != 1 || mode != CROSS || type != FLOAT) return bad(UNSUPPORTED, "a window of another kind");
  ((Conv *)d)->pad = ph; ((Conv *)d)->step = u; return OK;
}
int cudnnSetConvolutionMathType(H d, int math) {
  if (math != DEFAULT_MATH && math != FMA_MATH) return bad(UNSUPPORTED, "products of another kind");
  ((Conv *)d)->math = math; return OK;
}
int cudnnGetConvolutionForwardWorkspaceSize(H, H x, H w, H v, H y, int algo, size_t *n) { return size(x, w, v, y, algo, FORWARD_PRECOMP, 0, n); }
int cudnnGetConvolutionBackwardDataWorkspaceSize(H, H w, H y, H v, H x, int algo, size_t *n) { return size(x, w, v, y, algo, DATA_1, 1, n); }
int cudnnGetConvolutionBackwardFilterWorkspaceSize(H, H x, H y, H v, H w, int algo, size_t *n) { return size(x, w, v, y, algo, FILTER_1, 2, n); }
int cudnnConvolutionForward(H h, const void *al, H xd, const void *x, H wd, const void *w, H v, int algo, void *s, size_t n, const void *be, H yd, void *y) {
  return run(h, al, be, xd, wd, v, yd, algo, FORWARD_PRECOMP, 0, x, w, y, s, n);
}
int cudnnConvolutionBackwardData(H h, const void *al, H wd, const void *w, H yd, const void *dy, H v, int algo, void *s, size_t n, const void *be, H xd, void *dx) {
  return run(h, al, be, xd, wd, v, yd, algo, DATA_1, 1, dy, w, dx, s, n);
}
int cudnnConvolutionBackwardFilter(H h, const void *al, H xd, const void *x, H yd, const void *dy, H v, int algo, void *s, size_t n, const void *be, H wd, void *dw) {
  return run(h, al, be, xd, wd, v, yd, algo, FILTER_1, 2, x, dy, dw, s, n);
}
// What candle's own convolutions call, which nobody runs.
#define REST(name) int name() { return bad(UNSUPPORTED, #name); }
REST(cudnnSetTensorNdDescriptor) REST(cudnnSetFilterNdDescriptor) REST(cudnnSetConvolutionNdDescriptor) REST(cudnnSetTensor4dDescriptorEx)
REST(cudnnGetConvolutionForwardAlgorithm_v7) REST(cudnnSetConvolutionGroupCount)
__attribute__((destructor)) static void bye() { if (getenv("EMU_STATS")) fprintf(stderr, "emu: cuDNN: %lu forward, %lu input and %lu weight gradients\n", runs[0], runs[1], runs[2]); }
}
