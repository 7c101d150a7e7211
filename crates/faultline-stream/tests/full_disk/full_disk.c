// Loaded into a process (LD_PRELOAD) whose disk is to be full. While the file that FAULTLINE_FULL_WHILE names is there, what would take space
// under paths that begin with FAULTLINE_FULL_BELOW fails with ENOSPC; the first write is cut short, as on a disk with a few bytes left.
// If the file says `sync`, writes go well and what makes them durable fails, as where space is given only then.
//
// What the C library writes on its own (fwrite, for RocksDB's LOG) does not come through here.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BYTES_LEFT 100
#define REAL(name) ((__typeof__(&name))real(#name))

enum fault { NONE, WRITES, SYNCS };

static atomic_long left = BYTES_LEFT;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static enum fault fault(void) {
  const char *flag = getenv("FAULTLINE_FULL_WHILE");
  int before = errno, fd = flag ? (int)syscall(SYS_openat, AT_FDCWD, flag, O_RDONLY | O_CLOEXEC, 0) : -1;
  enum fault now = NONE;
  if (fd >= 0) {
    char first = 0;
    now = syscall(SYS_read, fd, &first, 1) == 1 && first == 's' ? SYNCS : WRITES;
    syscall(SYS_close, fd);
  }
  errno = before;
  return now;
}

static int is_below(const char *path) {
  const char *below = getenv("FAULTLINE_FULL_BELOW");
  return below && path && strncmp(path, below, strlen(below)) == 0;
}

static int is_file_below(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_below(path);
}

static int fails(enum fault what, int fd) { return fault() == what && is_file_below(fd); }

// How many bytes of a write there is room for.
static size_t room(int fd, size_t bytes) {
  if (!fails(WRITES, fd)) return bytes;
  long taken = atomic_exchange(&left, 0);
  return taken < (long)bytes ? (size_t)taken : bytes;
}

static int no_space(void) {
  errno = ENOSPC;
  return -1;
}

ssize_t write(int fd, const void *from, size_t bytes) {
  size_t fits = room(fd, bytes);
  return bytes > 0 && fits == 0 ? no_space() : REAL(write)(fd, from, fits);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
  size_t fits = room(fd, bytes);
  return bytes > 0 && fits == 0 ? no_space() : REAL(pwrite)(fd, from, fits, at);
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at) { return pwrite(fd, from, bytes, at); }

ssize_t writev(int fd, const struct iovec *from, int many) {
  return fails(WRITES, fd) ? no_space() : REAL(writev)(fd, from, many);
}

int fallocate(int fd, int mode, off_t at, off_t bytes) {
  return fails(WRITES, fd) ? no_space() : REAL(fallocate)(fd, mode, at, bytes);
}

int fallocate64(int fd, int mode, off64_t at, off64_t bytes) { return fallocate(fd, mode, at, bytes); }

int posix_fallocate(int fd, off_t at, off_t bytes) { return fails(WRITES, fd) ? ENOSPC : REAL(posix_fallocate)(fd, at, bytes); }

int fsync(int fd) { return fails(SYNCS, fd) ? no_space() : REAL(fsync)(fd); }

int fdatasync(int fd) { return fails(SYNCS, fd) ? no_space() : REAL(fdatasync)(fd); }

static int is_new_without_room(const char *path, int flags) {
  return (flags & O_CREAT) && is_below(path) && fault() == WRITES && access(path, F_OK) != 0;
}

#define MODE_OF(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list more; \
    va_start(more, flags); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags)
  return is_new_without_room(path, flags) ? no_space() : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags)
  return is_new_without_room(path, flags) ? no_space() : REAL(open64)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  MODE_OF(flags)
  return is_new_without_room(path, flags) ? no_space() : REAL(openat)(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  MODE_OF(flags)
  return is_new_without_room(path, flags) ? no_space() : REAL(openat64)(folder, path, flags, mode);
}
