/* Sets the clocks of the process that loads this with LD_PRELOAD apart: that of the day by CREDRESET_TEST_CLOCK seconds; or, where
   that is a path, both by the seconds that the file holds as two 64-bit numbers, first that of the day, then the monotonic one. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t fixed[2];
static volatile const int64_t *ahead = fixed;

__attribute__((constructor)) static void begin(void) {
  const char *set = getenv("CREDRESET_TEST_CLOCK");
  if (!set) return;
  fixed[0] = atol(set);
  if (*set != '/') return;
  int file = open(set, O_RDONLY | O_CLOEXEC);
  void *shared = file < 0 ? MAP_FAILED : mmap(NULL, sizeof fixed, PROT_READ, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) abort();
  close(file);
  ahead = shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && clock == CLOCK_REALTIME) now->tv_sec += ahead[0];
  if (!failed && clock == CLOCK_MONOTONIC) now->tv_sec += ahead[1];
  return failed;
}
