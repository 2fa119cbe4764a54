// Events that know the time, for a try of profile.c on the stand-in driver: preloaded behind profile.so. Work is done
// when its call returns there, so the clock when an event is recorded is its time.
#include <ctime>
typedef void *H;
// Begins as the driver's own event does that nothing was recorded in.
struct Event { void *stream = nullptr; unsigned long at = 0; timespec time = {}; };
extern "C" {
int cuEventCreate(H *e, unsigned) { *e = new Event; return 0; }
int cuEventDestroy_v2(H e) { delete (Event *)e; return 0; }
int cuEventRecord(H e, H) { clock_gettime(CLOCK_MONOTONIC, &((Event *)e)->time); return 0; }
int cuEventSynchronize(H) { return 0; }
int cuEventQuery(H) { return 0; }
int cuEventElapsedTime(float *ms, H a, H b) {
  const timespec from = ((Event *)a)->time, to = ((Event *)b)->time;
  *ms = (to.tv_sec - from.tv_sec) * 1e3f + (to.tv_nsec - from.tv_nsec) * 1e-6f;
  return 0;
}
}
