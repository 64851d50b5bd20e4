/* Records what a process does to the files below DISK_SHIM_DIR, and can have such a call fail.
 *
 * LD_PRELOAD this. DISK_SHIM_LOG names a file that gets one record per call that returned, in their
 * order: kind, O_DSYNC, length of the path, offset, length of the data; path; data.
 * DISK_SHIM_FAIL="n error" has the n-th call that changes a file or makes it durable (and all after
 * it) fail with that errno; with a negative one the n-th write is cut short, and later ones meet
 * ENOSPC. disk_shim_arm does the same from within; disk_shim_note records a note of the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct __attribute__((packed)) record {
  char kind;
  uint8_t durable;
  uint16_t path_length;
  int64_t offset;
  uint32_t length;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char below[4096];
static size_t below_length;
static int log_number = -1;
static long calls, fail_at;
static int fail_error, fail_once;

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int number, const void *data, size_t length) {
  REAL(write);
  return real(number, data, length);
}

static ssize_t plain_writev(int number, const struct iovec *data, int count) {
  REAL(writev);
  return real(number, data, count);
}

__attribute__((constructor)) static void begin(void) {
  const char *directory = getenv("DISK_SHIM_DIR"), *log = getenv("DISK_SHIM_LOG");
  const char *fail = getenv("DISK_SHIM_FAIL");
  if (directory) {
    strncpy(below, directory, sizeof below - 1);
    below_length = strlen(below);
  }
  if (log && below_length) log_number = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fail && sscanf(fail, "%ld %d", &fail_at, &fail_error) != 2) abort();
}

/* Counts from now on: the n-th call fails, with `once` only that. Returns how many calls there were
 * since the last arming. */
long disk_shim_arm(long n, int error, int once) {
  pthread_mutex_lock(&mutex);
  long before = calls;
  calls = 0;
  fail_at = n;
  fail_error = error;
  fail_once = once;
  pthread_mutex_unlock(&mutex);
  return before;
}

static void note(char kind, int durable, const char *path, int64_t offset, const struct iovec *data,
                 int count, size_t length) {
  if (log_number < 0) return;
  struct record head = {kind, (uint8_t)durable, (uint16_t)strlen(path), offset, (uint32_t)length};
  plain_write(log_number, &head, sizeof head);
  plain_write(log_number, path, strlen(path));
  for (int each = 0; each < count && length; each++) {
    size_t part = data[each].iov_len < length ? data[each].iov_len : length;
    plain_write(log_number, data[each].iov_base, part);
    length -= part;
  }
}

void disk_shim_note(const char *text, uint32_t length) {
  struct iovec one = {(void *)text, length};
  pthread_mutex_lock(&mutex);
  note('N', 0, "", 0, &one, 1, length);
  pthread_mutex_unlock(&mutex);
}

static int inside(const char *path) {
  return below_length && strncmp(path, below, below_length) == 0;
}

static int path_of(int number, char *path, size_t size) {
  char link[64];
  if (!below_length) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t length = readlink(link, path, size - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return inside(path);
}

/* 0: go on; 1: fail, errno is set; 2: cut it short. Called with the mutex held. */
static int fails(void) {
  calls++;
  if (!fail_at || calls < fail_at || (fail_once && calls > fail_at)) return 0;
  if (fail_error < 0 && calls == fail_at) {
    errno = ENOSPC;  /* For what cannot be cut short. */
    return 2;
  }
  errno = fail_error < 0 ? ENOSPC : fail_error;
  return 1;
}

static ssize_t written(int number, const struct iovec *data, int count, int64_t offset, int moves) {
  char path[4096];
  REAL(pwritev);
  if (!path_of(number, path, sizeof path))
    return moves ? plain_writev(number, data, count) : real(number, data, count, offset);
  pthread_mutex_lock(&mutex);
  int flags = fcntl(number, F_GETFL);
  int64_t at = !moves ? offset : lseek(number, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
  struct iovec half = {data[0].iov_base, data[0].iov_len / 2};
  int failure = fails();
  ssize_t done = -1;
  if (failure == 0) done = real(number, data, count, at);
  if (failure == 2) done = real(number, &half, 1, at);
  int error = errno;
  if (done > 0) {
    note('W', (flags & O_DSYNC) != 0, path, at, failure ? &half : data, failure ? 1 : count, done);
    if (moves) lseek(number, at + done, SEEK_SET);
  }
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}

ssize_t write(int number, const void *data, size_t length) {
  struct iovec one = {(void *)data, length};
  char path[4096];
  if (!path_of(number, path, sizeof path)) return plain_write(number, data, length);
  return written(number, &one, 1, 0, 1);
}

ssize_t writev(int number, const struct iovec *data, int count) {
  return written(number, data, count, 0, 1);
}

ssize_t pwrite(int number, const void *data, size_t length, off_t offset) {
  struct iovec one = {(void *)data, length};
  return written(number, &one, 1, offset, 0);
}

ssize_t pwrite64(int number, const void *data, size_t length, off64_t offset) {
  return pwrite(number, data, length, offset);
}

static int synced(int number, int (*real)(int)) {
  char path[4096];
  if (!path_of(number, path, sizeof path)) return real(number);
  pthread_mutex_lock(&mutex);
  int failure = fails() ? -1 : 0;
  if (failure == 0) failure = real(number);
  int error = errno;
  if (failure == 0) note('S', 0, path, 0, NULL, 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return failure;
}

int fdatasync(int number) {
  REAL(fdatasync);
  return synced(number, real);
}

int fsync(int number) {
  REAL(fsync);
  return synced(number, real);
}

int ftruncate(int number, off_t length) {
  char path[4096];
  REAL(ftruncate);
  int known = path_of(number, path, sizeof path);
  int failure = real(number, length);
  if (known && failure == 0) {
    pthread_mutex_lock(&mutex);
    note('T', 0, path, length, NULL, 0, 0);
    pthread_mutex_unlock(&mutex);
  }
  return failure;
}

int ftruncate64(int number, off64_t length) { return ftruncate(number, length); }

static void named(char kind, const char *path, const char *other) {
  struct iovec one = {(void *)other, strlen(other)};
  pthread_mutex_lock(&mutex);
  note(kind, 0, path, 0, &one, 1, one.iov_len);
  pthread_mutex_unlock(&mutex);
}

static int refused(const char *path) {
  if (!inside(path)) return 0;
  pthread_mutex_lock(&mutex);
  int failure = fails();
  int error = errno;
  pthread_mutex_unlock(&mutex);
  errno = error;
  return failure;
}

int rename(const char *from, const char *to) {
  REAL(rename);
  if (refused(from)) return -1;
  int failure = real(from, to);
  if (failure == 0 && inside(from)) named('R', from, to);
  return failure;
}

int unlink(const char *path) {
  REAL(unlink);
  int failure = real(path);
  if (failure == 0 && inside(path)) named('U', path, "");
  return failure;
}

int unlinkat(int directory, const char *name, int flags) {
  char path[4096 + 256];
  REAL(unlinkat);
  int known = directory != AT_FDCWD && path_of(directory, path, 4096);
  int failure = real(directory, name, flags);
  if (failure == 0 && known) {
    strcat(path, "/");
    strncat(path, name, 250);
    named('U', path, "");
  }
  return failure;
}

int rmdir(const char *path) {
  REAL(rmdir);
  int failure = real(path);
  if (failure == 0 && inside(path)) named('U', path, "");
  return failure;
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  if (refused(path)) return -1;
  int failure = real(path, mode);
  if (failure == 0 && inside(path)) named('D', path, "");
  return failure;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  struct stat found;
  int makes = (flags & O_CREAT) && inside(path) && stat(path, &found) != 0;
  if (makes && refused(path)) return -1;
  int number = real(path, flags, mode);
  if (number >= 0 && makes) named('C', path, "");
  return number;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  REAL(open);
  return opened((int (*)(const char *, int, ...))real, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  REAL(open64);
  return opened((int (*)(const char *, int, ...))real, path, flags, mode);
}
