// Put before the C library with LD_PRELOAD. Its uses, by environment variables:
//
// LETHE_FAULTS=FILE     while FILE exists, its lines "CALL PREFIX" make CALL (sync, write, rename or read) fail with EIO on
//                       files below PREFIX; "CALL+N PREFIX" lets N of them pass first, "CALL PREFIX AFTER" all until a file
//                       below AFTER was written. A line "swallow PREFIX" lets syncs of files below PREFIX succeed without
//                       leaving anything behind: as if the call were missing. A line "stall PREFIX" holds these calls, and
//                       realpath, up for as long as it stands there: as a mount does whose server is gone. The file is
//                       looked for at every call.
// LETHE_KILL_AT=N       the N-th call that changes files below LETHE_KILL_BELOW kills the process before it is made.
//                       With LETHE_KILL_AT=0 the calls are only counted, in LETHE_COUNT.
// LETHE_SYNCED=FILE     a line "INODE LENGTH" is appended to FILE after each successful sync of a file: what a power cut
//                       leaves of it.
// LETHE_TRACE=FILE      a line "sync PATH" or "rename PATH" is appended to FILE for each sync, of directories too, and each rename,
//                       and "stall PATH" for each call that is held up.
// LETHE_SHADOWS=DIR     and of a file of at most 8 KiB, which may be written in place, its content goes to DIR/INODE.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, size - 1);
    if (len < 0) return -1;
    path[len] = 0;
    return 0;
}

static int below(const char *path, const char *prefix) { return prefix && !strncmp(path, prefix, strlen(prefix)); }

// Whether the fault file names this call and path. Read with bare system calls: these functions may stand before open and read.
static int fails(const char *call, const char *path) {
    const char *file = getenv("LETHE_FAULTS");
    if (!file) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[4096];
    ssize_t len = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (len <= 0) return 0;
    text[len] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *prefix = strchr(line, ' ');
        if (!prefix) continue;
        *prefix++ = 0;
        char *pass = strchr(line, '+');
        if (pass) *pass++ = 0;
        char *after = strchr(prefix, ' ');
        if (after) {
            static atomic_int armed;
            *after++ = 0;
            if (!strcmp("write", call) && below(path, after)) atomic_store(&armed, 1);
            if (!atomic_load(&armed)) continue;
        }
        if (strcmp(line, call) || !below(path, prefix)) continue;
        static atomic_long passed;
        if (!pass || atomic_fetch_add(&passed, 1) >= atol(pass)) return 1;
    }
    return 0;
}

static void step(const char *path) {
    const char *at = getenv("LETHE_KILL_AT");
    if (!at || !below(path, getenv("LETHE_KILL_BELOW"))) return;
    static atomic_long done;
    long number = atomic_fetch_add(&done, 1) + 1;
    const char *count = getenv("LETHE_COUNT");
    if (count) {
        int fd = syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        syscall(SYS_write, fd, ".", 1);
        syscall(SYS_close, fd);
    }
    if (number == atol(at)) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

static void trace(const char *call, const char *path) {
    const char *file = getenv("LETHE_TRACE");
    if (!file) return;
    char line[4200];
    int len = snprintf(line, sizeof line, "%s %s\n", call, path);
    int to = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_write, to, line, len);
    syscall(SYS_close, to);
}

static void stall(const char *path) {
    if (fails("stall", path)) trace("stall", path);
    while (fails("stall", path)) usleep(10000);
}

static int enter(const char *call, int fd) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) return 0;
    stall(path);
    step(path);
    if (!strcmp(call, "sync")) trace(call, path);
    if (fails(call, path)) {
        errno = EIO;
        return -1;
    }
    return 0;
}

static void shadow(const char *path, const struct stat *st) {
    const char *dir = getenv("LETHE_SHADOWS");
    char bytes[8192], name[4096], fresh[4100];
    if (!dir || st->st_size > (off_t)sizeof bytes) return;
    int from = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t len = syscall(SYS_read, from, bytes, sizeof bytes);
    syscall(SYS_close, from);
    if (len < 0) return;
    snprintf(name, sizeof name, "%s/%lu", dir, (unsigned long)st->st_ino);
    snprintf(fresh, sizeof fresh, "%s.new", name);
    int to = syscall(SYS_openat, AT_FDCWD, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    syscall(SYS_write, to, bytes, len);
    syscall(SYS_close, to);
    // At once: the process may be killed here.
    syscall(SYS_renameat2, AT_FDCWD, fresh, AT_FDCWD, name, 0);
}

static void synced(int fd) {
    const char *file = getenv("LETHE_SYNCED");
    struct stat st;
    if (!file || fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
    char path[4096];
    if (!path_of(fd, path, sizeof path) && fails("swallow", path)) return;
    shadow(path, &st);
    char line[64];
    int len = snprintf(line, sizeof line, "%lu %lld\n", (unsigned long)st.st_ino, (long long)st.st_size);
    int to = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_write, to, line, len);
    syscall(SYS_close, to);
}

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
    if (enter("sync", fd)) return -1;
    int done = NEXT(fsync)(fd);
    if (!done) synced(fd);
    return done;
}

int fdatasync(int fd) {
    if (enter("sync", fd)) return -1;
    int done = NEXT(fdatasync)(fd);
    if (!done) synced(fd);
    return done;
}

static ssize_t written(int fd, ssize_t done) {
    if (done > 0 && getenv("LETHE_SYNCED") && (fcntl(fd, F_GETFL) & O_DSYNC)) synced(fd);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    if (fd > 2 && enter("write", fd)) return -1;
    return written(fd, syscall(SYS_write, fd, bytes, len));
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    if (enter("write", fd)) return -1;
    return written(fd, syscall(SYS_pwrite64, fd, bytes, len, at));
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return pwrite64(fd, bytes, len, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fd > 2 && enter("write", fd)) return -1;
    return written(fd, syscall(SYS_writev, fd, parts, count));
}

// Reads change nothing, so they are no steps.
static int unreadable(int fd) {
    char path[4096];
    if (!getenv("LETHE_FAULTS") || path_of(fd, path, sizeof path)) return 0;
    stall(path);
    if (!fails("read", path)) return 0;
    errno = EIO;
    return 1;
}

ssize_t read(int fd, void *bytes, size_t len) { return unreadable(fd) ? -1 : syscall(SYS_read, fd, bytes, len); }

ssize_t pread64(int fd, void *bytes, size_t len, off64_t at) {
    return unreadable(fd) ? -1 : syscall(SYS_pread64, fd, bytes, len, at);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t at) { return pread64(fd, bytes, len, at); }

int rename(const char *from, const char *to) {
    step(to);
    trace("rename", to);
    if (fails("rename", to)) {
        errno = EIO;
        return -1;
    }
    return NEXT(rename)(from, to);
}

int unlink(const char *path) {
    step(path);
    return NEXT(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
    step(path);
    return NEXT(mkdir)(path, mode);
}

// Of two versions dlsym may find the one that takes no null pointer.
char *realpath(const char *path, char *resolved) {
    stall(path);
    typeof(&realpath) next = dlvsym(RTLD_NEXT, "realpath", "GLIBC_2.3");
    return (next ? next : NEXT(realpath))(path, resolved);
}
