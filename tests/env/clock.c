/* Sets the clock of the day CREDRESET_TEST_CLOCK seconds ahead for the process that loads this with LD_PRELOAD. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  const char *ahead = getenv("CREDRESET_TEST_CLOCK");
  if (!failed && clock == CLOCK_REALTIME && ahead) now->tv_sec += atol(ahead);
  return failed;
}
