/* Records what a process does to the files below one directory: for `LD_PRELOAD`.
 *
 * Every change of a file or of a directory becomes one record in a trace, in an order that keeps
 * causes before effects: a record is complete in the trace before the call returns to the process.
 * Calls that change names run one at a time, so that their records stand in the order of their
 * effects. A sync has two records: what was recorded before its first is covered by it, what comes
 * after its second may rely on it. `trace.rs` reads the trace.
 *
 * RECORDER_TRACE      the trace, outside the directory; records are appended
 * RECORDER_DIRECTORY  the directory, absolute
 *
 * A way to change files that is not recorded (a shared writable mapping, sendfile …) becomes a
 * record that says so, and the test fails. The test also compares the replayed trace with the files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op {
    OP_START = 1,
    OP_OPEN,       /* a = fd, b = flags, c = is it a directory */
    OP_CLOSE,      /* a = fd */
    OP_DUP,        /* a = fd, b = the other fd */
    OP_WRITE,      /* a = fd, b = offset, data */
    OP_TRUNCATE,   /* a = fd, b = size */
    OP_ALLOCATE,   /* a = fd, b = new size at least, only if it grows the file */
    OP_SYNC_BEGIN, /* a = fd, c = number of this sync */
    OP_SYNC_END,   /* a = fd, c = number of this sync */
    OP_RENAME,     /* paths */
    OP_LINK,       /* paths */
    OP_UNLINK,     /* path */
    OP_MKDIR,      /* path */
    OP_RMDIR,      /* path */
    OP_UNKNOWN,    /* path = what was done that cannot be recorded */
};

struct header {
    uint32_t magic;
    uint32_t op;
    int64_t a, b, c;
    uint32_t path_bytes, other_bytes, data_bytes, reserved;
    char thread[16]; /* its name */
};

#define MAGIC 0x4f4e4747u
#define FDS_MAX 65536

static int trace_fd = -1;
static char root[PATH_MAX];
static size_t root_bytes;
static volatile unsigned char tracked[FDS_MAX];
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t syncs;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t real_writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return real(fd, parts, count);
}

static void record(enum op op, int64_t a, int64_t b, int64_t c, const char *path, const char *other,
                   const struct iovec *data, int data_count, size_t data_bytes) {
    if (trace_fd < 0) return;
    int saved = errno;
    size_t path_bytes = path ? strlen(path) : 0, other_bytes = other ? strlen(other) : 0;
    struct header header = {MAGIC, op, a, b, c, path_bytes, other_bytes, data_bytes, 0, ""};
    prctl(PR_GET_NAME, header.thread);
    size_t total = sizeof header + path_bytes + other_bytes + data_bytes;
    char *whole = malloc(total), *at = whole;
    if (!whole) abort();
    memcpy(at, &header, sizeof header), at += sizeof header;
    if (path) memcpy(at, path, path_bytes), at += path_bytes;
    if (other) memcpy(at, other, other_bytes), at += other_bytes;
    for (int i = 0; i < data_count && data_bytes > 0; i++) {
        size_t part = data[i].iov_len < data_bytes ? data[i].iov_len : data_bytes;
        memcpy(at, data[i].iov_base, part), at += part, data_bytes -= part;
    }
    pthread_mutex_lock(&trace_lock);
    for (size_t written = 0; written < total;) {
        struct iovec rest = {whole + written, total - written};
        ssize_t result = real_writev(trace_fd, &rest, 1);
        if (result < 0) abort();
        written += result;
    }
    pthread_mutex_unlock(&trace_lock);
    free(whole);
    errno = saved;
}

static void unknown(const char *what) { record(OP_UNKNOWN, 0, 0, 0, what, NULL, NULL, 0, 0); }

__attribute__((constructor)) static void start(void) {
    const char *trace = getenv("RECORDER_TRACE"), *directory = getenv("RECORDER_DIRECTORY");
    if (!trace || !directory || strlen(directory) >= sizeof root) return;
    REAL(open);
    strcpy(root, directory);
    root_bytes = strlen(root);
    int fd = real(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* A number that the process itself does not get to. */
    trace_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (trace_fd < 0) trace_fd = fd;
    if (trace_fd < 0) abort();
    record(OP_START, getpid(), 0, 0, NULL, NULL, NULL, 0, 0);
}

static int is_tracked(int fd) { return fd >= 0 && fd < FDS_MAX && tracked[fd]; }

/* The absolute path, or NULL when it is not below the directory. */
static const char *inside(int at, const char *path, char *buffer) {
    if (!root_bytes || !path) return NULL;
    if (path[0] != '/') {
        char link[64];
        ssize_t length;
        if (at == AT_FDCWD) {
            if (!getcwd(buffer, PATH_MAX)) return NULL;
            length = strlen(buffer);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            length = readlink(link, buffer, PATH_MAX - 1);
            if (length < 0) return NULL;
        }
        snprintf(buffer + length, PATH_MAX - length, "/%s", path);
        path = buffer;
    }
    if (strncmp(path, root, root_bytes) != 0) return NULL;
    return path[root_bytes] == '/' || path[root_bytes] == 0 ? path : NULL;
}

static void opened(int fd, int flags, const char *path) {
    struct stat status;
    if (fd >= FDS_MAX || fstat(fd, &status) != 0) abort();
    if (flags & (O_DSYNC | O_SYNC)) unknown("open with O_SYNC or O_DSYNC");
    tracked[fd] = 1;
    record(OP_OPEN, fd, flags, S_ISDIR(status.st_mode), path, NULL, NULL, 0, 0);
}

#define OPEN_MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

#define OPEN_BODY(at, call) \
    char buffer[PATH_MAX]; \
    const char *full = inside(at, path, buffer); \
    if (!full) return call; \
    pthread_mutex_lock(&names_lock); \
    int fd = call; \
    if (fd >= 0) opened(fd, flags, full); \
    pthread_mutex_unlock(&names_lock); \
    return fd;

int open(const char *path, int flags, ...) { OPEN_MODE(flags) REAL(open); OPEN_BODY(AT_FDCWD, real(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN_MODE(flags) REAL(open64); OPEN_BODY(AT_FDCWD, real(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { OPEN_MODE(flags) REAL(openat); OPEN_BODY(at, real(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { OPEN_MODE(flags) REAL(openat64); OPEN_BODY(at, real(at, path, flags, mode)) }

/* What open() becomes under _FORTIFY_SOURCE where no mode is given. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int at, const char *path, int flags) { return openat(at, path, flags); }
int __openat64_2(int at, const char *path, int flags) { return openat64(at, path, flags); }

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* Streams open files without calling open(): only reading is expected. */
#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        char buffer[PATH_MAX]; \
        if (inside(AT_FDCWD, path, buffer) && (mode[0] != 'r' || strchr(mode, '+'))) unknown(#name); \
        return real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

int close(int fd) {
    REAL(close);
    if (!is_tracked(fd)) return real(fd);
    /* Recorded before: from the call on, another thread may get the same number. */
    pthread_mutex_lock(&names_lock);
    record(OP_CLOSE, fd, 0, 0, NULL, NULL, NULL, 0, 0);
    tracked[fd] = 0;
    int result = real(fd);
    pthread_mutex_unlock(&names_lock);
    return result;
}

static int duplicated(int from, int to) {
    if (to >= 0 && is_tracked(from)) {
        if (to >= FDS_MAX) abort();
        tracked[to] = 1;
        record(OP_DUP, from, to, 0, NULL, NULL, NULL, 0, 0);
    }
    return to;
}

int dup(int fd) { REAL(dup); return duplicated(fd, real(fd)); }
int dup2(int fd, int to) { REAL(dup2); return duplicated(fd, real(fd, to)); }
int dup3(int fd, int to, int flags) { REAL(dup3); return duplicated(fd, real(fd, to, flags)); }

#define FCNTL(name) \
    int name(int fd, int command, ...) { \
        REAL(name); \
        va_list list; \
        va_start(list, command); \
        void *argument = va_arg(list, void *); \
        va_end(list); \
        int result = real(fd, command, argument); \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

static void wrote(int fd, off_t offset, const struct iovec *parts, int count, ssize_t result) {
    if (result > 0) record(OP_WRITE, fd, offset, 0, NULL, NULL, parts, count, result);
}

/* After a write at the file's position, the position is behind what was written. */
static void wrote_here(int fd, const struct iovec *parts, int count, ssize_t result) {
    if (result > 0) {
        int saved = errno;
        wrote(fd, lseek(fd, 0, SEEK_CUR) - result, parts, count, result);
        errno = saved;
    }
}

ssize_t write(int fd, const void *data, size_t bytes) {
    REAL(write);
    ssize_t result = real(fd, data, bytes);
    if (is_tracked(fd)) wrote_here(fd, &(struct iovec){(void *)data, bytes}, 1, result);
    return result;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t result = real_writev(fd, parts, count);
    if (is_tracked(fd)) wrote_here(fd, parts, count, result);
    return result;
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t bytes, offset_type offset) { \
        REAL(name); \
        ssize_t result = real(fd, data, bytes, offset); \
        if (is_tracked(fd)) wrote(fd, offset, &(struct iovec){(void *)data, bytes}, 1, result); \
        return result; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) { \
        REAL(name); \
        ssize_t result = real(fd, parts, count, offset); \
        if (is_tracked(fd)) wrote(fd, offset, parts, count, result); \
        return result; \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define PWRITEV2(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset, int flags) { \
        REAL(name); \
        ssize_t result = real(fd, parts, count, offset, flags); \
        if (is_tracked(fd)) unknown(#name); \
        return result; \
    }
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

#define FTRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) { \
        REAL(name); \
        int result = real(fd, size); \
        if (result == 0 && is_tracked(fd)) record(OP_TRUNCATE, fd, size, 0, NULL, NULL, NULL, 0, 0); \
        return result; \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define TRUNCATE(name, offset_type) \
    int name(const char *path, offset_type size) { \
        REAL(name); \
        char buffer[PATH_MAX]; \
        if (inside(AT_FDCWD, path, buffer)) unknown(#name); \
        return real(path, size); \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

static void allocated(int fd, int mode, int64_t end, int result) {
    if (result != 0 || !is_tracked(fd)) return;
    if (mode & ~FALLOC_FL_KEEP_SIZE) unknown("fallocate that is more than an allocation");
    if (!(mode & FALLOC_FL_KEEP_SIZE)) record(OP_ALLOCATE, fd, end, 0, NULL, NULL, NULL, 0, 0);
}

#define FALLOCATE(name, offset_type) \
    int name(int fd, int mode, offset_type offset, offset_type bytes) { \
        REAL(name); \
        int result = real(fd, mode, offset, bytes); \
        allocated(fd, mode, offset + bytes, result); \
        return result; \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

#define POSIX_FALLOCATE(name, offset_type) \
    int name(int fd, offset_type offset, offset_type bytes) { \
        REAL(name); \
        int result = real(fd, offset, bytes); \
        allocated(fd, 0, offset + bytes, result); \
        return result; \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        if (!is_tracked(fd)) return real(fd); \
        int64_t number = __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED); \
        record(OP_SYNC_BEGIN, fd, 0, number, NULL, NULL, NULL, 0, 0); \
        int result = real(fd); \
        if (result == 0) record(OP_SYNC_END, fd, 0, number, NULL, NULL, NULL, 0, 0); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)
/* sync_file_range promises nothing after a power cut, and so is not recorded. */

#define TWO_NAMES(op, at_from, from, at_to, to, call) \
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX]; \
    const char *full_from = inside(at_from, from, from_buffer), *full_to = inside(at_to, to, to_buffer); \
    if (!full_from && !full_to) return call; \
    pthread_mutex_lock(&names_lock); \
    int result = call; \
    if (result == 0) { \
        if (!full_from || !full_to) unknown("a name moved into or out of the directory"); \
        else record(op, 0, 0, 0, full_from, full_to, NULL, 0, 0); \
    } \
    pthread_mutex_unlock(&names_lock); \
    return result;

int rename(const char *from, const char *to) { REAL(rename); TWO_NAMES(OP_RENAME, AT_FDCWD, from, AT_FDCWD, to, real(from, to)) }
int renameat(int at_from, const char *from, int at_to, const char *to) {
    REAL(renameat);
    TWO_NAMES(OP_RENAME, at_from, from, at_to, to, real(at_from, from, at_to, to))
}
int renameat2(int at_from, const char *from, int at_to, const char *to, unsigned flags) {
    REAL(renameat2);
    if (flags & RENAME_EXCHANGE) unknown("renameat2 with RENAME_EXCHANGE");
    TWO_NAMES(OP_RENAME, at_from, from, at_to, to, real(at_from, from, at_to, to, flags))
}
int link(const char *from, const char *to) { REAL(link); TWO_NAMES(OP_LINK, AT_FDCWD, from, AT_FDCWD, to, real(from, to)) }
int linkat(int at_from, const char *from, int at_to, const char *to, int flags) {
    REAL(linkat);
    TWO_NAMES(OP_LINK, at_from, from, at_to, to, real(at_from, from, at_to, to, flags))
}
int symlink(const char *target, const char *path) {
    REAL(symlink);
    char buffer[PATH_MAX];
    if (inside(AT_FDCWD, path, buffer)) unknown("symlink");
    return real(target, path);
}

#define ONE_NAME(op, at, path, call) \
    char buffer[PATH_MAX]; \
    const char *full = inside(at, path, buffer); \
    if (!full) return call; \
    pthread_mutex_lock(&names_lock); \
    int result = call; \
    if (result == 0) record(op, 0, 0, 0, full, NULL, NULL, 0, 0); \
    pthread_mutex_unlock(&names_lock); \
    return result;

int unlink(const char *path) { REAL(unlink); ONE_NAME(OP_UNLINK, AT_FDCWD, path, real(path)) }
int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    ONE_NAME(flags & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK, at, path, real(at, path, flags))
}
int remove(const char *path) {
    REAL(remove);
    char buffer[PATH_MAX];
    if (inside(AT_FDCWD, path, buffer)) unknown("remove");
    return real(path);
}
int rmdir(const char *path) { REAL(rmdir); ONE_NAME(OP_RMDIR, AT_FDCWD, path, real(path)) }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); ONE_NAME(OP_MKDIR, AT_FDCWD, path, real(path, mode)) }
int mkdirat(int at, const char *path, mode_t mode) { REAL(mkdirat); ONE_NAME(OP_MKDIR, at, path, real(at, path, mode)) }

/* The system call itself: an allocator's first mapping comes before anything may be looked up. */
#define MMAP(name, offset_type) \
    void *name(void *address, size_t bytes, int protection, int flags, int fd, offset_type offset) { \
        if (is_tracked(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) unknown(#name " shared and writable"); \
        return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset); \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

ssize_t sendfile(int to, int from, off_t *offset, size_t bytes) {
    REAL(sendfile);
    if (is_tracked(to)) unknown("sendfile");
    return real(to, from, offset, bytes);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t bytes, unsigned flags) {
    REAL(copy_file_range);
    if (is_tracked(to)) unknown("copy_file_range");
    return real(from, from_at, to, to_at, bytes, flags);
}
ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t bytes, unsigned flags) {
    REAL(splice);
    if (is_tracked(to)) unknown("splice");
    return real(from, from_at, to, to_at, bytes, flags);
}
