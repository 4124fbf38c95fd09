/* The wall clock of a simulation: for `LD_PRELOAD`.
 *
 * Answers clock_gettime(CLOCK_REALTIME) with the milliseconds since 1970 that stand in the file
 * SIMULATED_CLOCK, eight bytes that whoever drives the simulation writes over.
 *
 * Every other clock is the machine's: time-outs and durations stay what they are. So do
 * gettimeofday and time, which the server itself does not ask: RocksDB and the allocator do, and
 * wait for moments on that clock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *now_ms;

__attribute__((constructor)) static void open_clock(void)
{
    const char *path = getenv("SIMULATED_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *now_ms, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        perror("SIMULATED_CLOCK");
        _exit(97);
    }
    close(fd);
    now_ms = page;
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    if (id != CLOCK_REALTIME || !now_ms)
        return (int)syscall(SYS_clock_gettime, id, at);
    int64_t ms = atomic_load(now_ms);
    at->tv_sec = ms / 1000;
    at->tv_nsec = ms % 1000 * 1000000;
    return 0;
}
