// libcublasLt stand-in: products on the CPU, by plain loops over what the descriptions say, which are checked as the
// library checks them: sizes of attributes, shapes that fit, addresses aligned as was promised when the algorithm was
// chosen, the workspace that it asked for. EMU_LT=none: no algorithm for anything.
#include "emu.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
namespace {
typedef void *H;
enum { OK = 0, INVALID = 7, FAILED = 13, UNSUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_TF32 = 77, RELU = 2, BIAS = 4 };
struct Layout { int type; uint64_t rows, cols; int64_t ld; };
struct Desc { int compute; int32_t turned[2]; uint32_t epilogue; uint64_t bias; };
struct Preference { uint64_t workspace; uint32_t scheme, align[4]; };
struct Algo { uint64_t m, n, k, workspace; uint32_t align[4], epilogue, turned; uint64_t magic; };
static_assert(sizeof(Algo) == 64, "cublasLtMatmulAlgo_t");
const uint64_t MAGIC = 0x6c74616c676f0001;
unsigned long products, chosen;
std::mutex mu;
int bad(const char *why) { fprintf(stderr, "emu: cublasLt: %s\n", why); return INVALID; }
float at(const void *p, int type, uint64_t i, bool cut) {
  if (type == R_16BF) return emu_bf16(((const uint16_t *)p)[i]);
  float v = ((const float *)p)[i];
  return cut ? emu_tf32(v) : v;
}
// Whether the matrices of a description fit each other.
bool fits(const Desc &d, const Layout &a, const Layout &b, const Layout &c, uint64_t *m, uint64_t *n, uint64_t *k) {
  *m = d.turned[0] ? a.cols : a.rows; *k = d.turned[0] ? a.rows : a.cols; *n = d.turned[1] ? b.rows : b.cols;
  uint64_t kb = d.turned[1] ? b.cols : b.rows;
  return kb == *k && c.rows == *m && c.cols == *n && (uint64_t)a.ld >= a.rows && (uint64_t)b.ld >= b.rows && (uint64_t)c.ld >= c.rows;
}
bool aligned(const void *p, uint32_t to) { return to && (uint64_t)p % to == 0; }
}  // namespace
extern "C" {
int cublasLtCreate(H *h) { *h = new int(1); return OK; }
int cublasLtDestroy(H h) { delete (int *)h; return OK; }
int cublasLtMatrixLayoutCreate(H *l, int type, uint64_t rows, uint64_t cols, int64_t ld) { *l = new Layout{type, rows, cols, ld}; return OK; }
int cublasLtMatrixLayoutDestroy(H l) { delete (Layout *)l; return OK; }
int cublasLtMatmulDescCreate(H *d, int compute, int scale) {
  if ((compute != COMPUTE_32F && compute != COMPUTE_TF32) || scale != R_32F) return UNSUPPORTED;
  *d = new Desc{compute, {0, 0}, 1, 0}; return OK;
}
int cublasLtMatmulDescDestroy(H d) { delete (Desc *)d; return OK; }
int cublasLtMatmulDescSetAttribute(H h, int what, const void *v, size_t n) {
  Desc *d = (Desc *)h;
  if ((what == 3 || what == 4) && n == 4) { memcpy(&d->turned[what - 3], v, 4); return OK; }
  if (what == 7 && n == 4) { memcpy(&d->epilogue, v, 4); return OK; }
  if (what == 8 && n == 8) { memcpy(&d->bias, v, 8); return OK; }
  return bad("an attribute that is unknown, or of another size");
}
int cublasLtMatmulPreferenceCreate(H *p) { *p = new Preference{0, ~0u, {256, 256, 256, 256}}; return OK; }
int cublasLtMatmulPreferenceDestroy(H p) { delete (Preference *)p; return OK; }
int cublasLtMatmulPreferenceSetAttribute(H h, int what, const void *v, size_t n) {
  Preference *p = (Preference *)h;
  if (what == 1 && n == 8) { memcpy(&p->workspace, v, 8); return OK; }
  if (what == 3 && n == 4) { memcpy(&p->scheme, v, 4); return OK; }
  if (what >= 5 && what <= 8 && n == 4) { memcpy(&p->align[what - 5], v, 4); return OK; }
  return bad("a preference that is unknown, or of another size");
}
int cublasLtMatmulAlgoGetHeuristic(H, H d_, H a_, H b_, H c_, H o_, H p_, int, void *result, int *count) {
  struct Result { Algo algo; size_t workspace; int state; float waves; int reserved[4]; } r = {};
  const Desc &d = *(Desc *)d_; const Layout &a = *(Layout *)a_, &b = *(Layout *)b_, &c = *(Layout *)c_, &o = *(Layout *)o_; const Preference &p = *(Preference *)p_;
  *count = 0;
  if (const char *e = getenv("EMU_LT")) if (!strcmp(e, "none")) return UNSUPPORTED;
  Algo &g = r.algo; uint64_t m, n, k;
  if (!fits(d, a, b, c, &m, &n, &k) || o.rows != c.rows || o.cols != c.cols) return bad("shapes that do not fit");
  if (a.type != b.type || (a.type != R_32F && a.type != R_16BF) || c.type != R_32F || o.type != R_32F || (a.type == R_16BF && d.compute != COMPUTE_32F)) return UNSUPPORTED;
  if (p.scheme & ~2u) return bad("a reduction in the result itself is asked for");
  if ((d.epilogue & BIAS) && !d.bias) return bad("an epilogue with a bias, and none");
  // An inner dimension that would be cut asks for room.
  g.workspace = k > 200 && p.workspace >= 1024 ? 1024 : 0;
  g.m = m; g.n = n; g.k = k; g.epilogue = d.epilogue; g.turned = d.turned[0] + 2 * d.turned[1]; g.magic = MAGIC;
  memcpy(g.align, p.align, sizeof g.align);
  r.workspace = g.workspace; memcpy(result, &r, sizeof r); *count = 1;
  std::lock_guard<std::mutex> hold(mu); ++chosen; return OK;
}
int cublasLtMatmul(H, H d_, const void *alpha, const void *A, H a_, const void *B, H b_, const void *beta, const void *C, H c_, void *D, H o_, const void *algo, void *workspace, size_t bytes, H stream) {
  // Descriptions are read now, numbers when the stream comes to it.
  const Desc d = *(Desc *)d_; const Layout a = *(Layout *)a_, b = *(Layout *)b_, c = *(Layout *)c_, o = *(Layout *)o_; const Algo g = *(const Algo *)algo;
  uint64_t m, n, k;
  if (!fits(d, a, b, c, &m, &n, &k) || o.ld < (int64_t)m) return bad("shapes that do not fit");
  if (g.magic != MAGIC || g.m != m || g.n != n || g.k != k || g.epilogue != d.epilogue || g.turned != (uint32_t)(d.turned[0] + 2 * d.turned[1])) return bad("an algorithm for another product");
  if (!aligned(A, g.align[0]) || !aligned(B, g.align[1]) || !aligned(C, g.align[2]) || !aligned(D, g.align[3])) return bad("an address that is aligned less than was promised");
  if (bytes < g.workspace || (g.workspace && !workspace)) return bad("a workspace that is too small");
  const bool cut = d.compute == COMPUTE_TF32; const float al = *(const float *)alpha, be = *(const float *)beta; const float *const bias = d.epilogue & BIAS ? (const float *)d.bias : nullptr;
  if ((d.epilogue & BIAS) && !bias) return bad("an epilogue with a bias, and none");
  // No preference of its own: an epilogue may read it by as many bytes as it writes.
  if (bias && !aligned(bias, g.align[3])) return bad("a bias that is aligned less than the result was promised to be");
  return emu_enqueue(stream, [=] {
  ++products;
  if (g.workspace) memset(workspace, 0xff, g.workspace);
  for (uint64_t j = 0; j < n; ++j) for (uint64_t i = 0; i < m; ++i) {
    double s = 0;
    for (uint64_t l = 0; l < k; ++l)
      s += (double)at(A, a.type, d.turned[0] ? l + i * a.ld : i + l * a.ld, cut) * at(B, b.type, d.turned[1] ? j + l * b.ld : l + j * b.ld, cut);
    float v = al * (float)s + (be == 0 ? 0.f : be * ((const float *)C)[i + j * c.ld]);
    if (bias) v += bias[i];
    if (d.epilogue & RELU) v = v > 0 ? v : 0;
    ((float *)D)[i + j * o.ld] = v;
  }
  }) ? FAILED : OK;
}
__attribute__((destructor)) static void bye() { if (getenv("EMU_STATS")) fprintf(stderr, "emu: cublasLt: %lu products, %lu algorithms chosen\n", products, chosen); }
}
