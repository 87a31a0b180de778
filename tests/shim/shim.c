/* Stands between a program and the C library (LD_PRELOAD): it writes down what the program does to the files under
 * one folder, refuses or shortens it when told to, and shifts the wall clock. What it writes down is enough to tell
 * what a disk may hold after a loss of power. Environment: FAULTS_ROOT, the folder; FAULTS_CONTROL, a file of 64-bit
 * numbers that the harness changes while we run (see `enum`); FAULTS_JOURNAL, where it is written down. The Rust side
 * is tests/src/faults/shim.rs; both know the same numbers. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Numbers of the control file. `*_TIMES`: how many calls fail; below zero: all until it is changed. */
enum {
	PID, CLOCK_US, ROOM, WRITE_TIMES, WRITE_ERRNO, SYNC_TIMES, SYNC_ERRNO, NAME_TIMES, NAME_ERRNO, SHORT_TIMES,
	SYNC_LIES, SYNC_DELAY_US,
	/* what was seen and done */
	WRITES = 16, SYNCS, NAMES, FULLS, WRITE_FAILS, SYNC_FAILS, NAME_FAILS, SHORTS, LIES, CLOCKS,
	NUMBERS = 64
};
enum { START, OPEN, DUP, WRITE, SIZE, SYNC, SYNC_FAILED, RENAME, UNLINK, MKDIR, RMDIR, MAPPED };
#define FDS 65536

static _Atomic int64_t none[NUMBERS];
static _Atomic int64_t *control = none;
static int journal = -1;
static _Atomic int64_t length; /* of the journal */
static char root[PATH_MAX];
static size_t root_length, above_length;
static _Atomic unsigned char watched[FDS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_closedir)(DIR *);

static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }
static long failed(int error) { errno = error; return -1; }
static int is_watched(int fd) { return fd >= 0 && fd < FDS && watched[fd]; }

/* Whether the fault is due; it is used up then. */
static int due(int times) {
	int64_t left = control[times];
	while (left > 0)
		if (atomic_compare_exchange_weak(&control[times], &left, left - 1)) return 1;
	return left < 0;
}

/* One record: its length, kind, file, two numbers, bytes. With the lock. */
static void note(int kind, int fd, int64_t a, int64_t b, const struct iovec *bytes, int count) {
	if (journal < 0) return;
	int error = errno;
	struct { uint32_t length, kind; int32_t fd; uint32_t pad; int64_t a, b; } head = { sizeof head, kind, fd, 0, a, b };
	struct iovec all[66] = { { &head, sizeof head } };
	if (count > 65) abort();
	for (int i = 0; i < count; i++) {
		all[i + 1] = bytes[i];
		head.length += bytes[i].iov_len;
	}
	if (syscall(SYS_writev, journal, all, count + 1) != (long)head.length) abort();
	length += head.length;
	errno = error;
}
static void note_path(int kind, int fd, int64_t a, const char *path) {
	struct iovec bytes = { (char *)path, strlen(path) };
	note(kind, fd, a, 0, &bytes, 1);
}

static __attribute__((constructor)) void begin(void) {
	real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	real_closedir = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");
	const char *folder = getenv("FAULTS_ROOT"), *file = getenv("FAULTS_CONTROL"), *log = getenv("FAULTS_JOURNAL");
	if (!folder || !file || !log) return;
	int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0) abort();
	void *map = mmap(NULL, NUMBERS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) abort();
	syscall(SYS_close, fd);
	control = map;
	journal = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (journal < 0) abort();
	length = syscall(SYS_lseek, journal, 0, SEEK_END);
	root_length = strlen(folder);
	memcpy(root, folder, root_length + 1);
	above_length = strrchr(root, '/') - root;
	note(START, -1, 0, 0, NULL, 0);
	control[PID] = getpid();
}

/* Whether the path is one of those that are written down; made absolute into `out`. SQLite's -shm is memory. */
static int is_inside(int dir, const char *path, char *out) {
	if (journal < 0 || !path) return 0;
	out[0] = 0;
	if (path[0] != '/') {
		char link[64] = "/proc/self/cwd", *p = link;
		if (dir != AT_FDCWD) {
			memcpy(link, "/proc/self/fd/", 14);
			char digits[16];
			int n = 0;
			for (int d = dir; n == 0 || d > 0; d /= 10) digits[n++] = '0' + d % 10;
			p = link + 14;
			while (n > 0) *p++ = digits[--n];
			*p = 0;
		}
		long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 2);
		if (n < 0) return 0;
		out[n] = '/';
		out[n + 1] = 0;
	}
	size_t before = strlen(out), more = strlen(path);
	if (before + more >= PATH_MAX) return 0;
	memcpy(out + before, path, more + 1);
	/* The folder above is that in which the name of ours stands. */
	if (strlen(out) == above_length && !strncmp(out, root, above_length)) return 1;
	if (strncmp(out, root, root_length) || (out[root_length] != '/' && out[root_length] != 0)) return 0;
	size_t n = strlen(out);
	return !(n > 4 && !strcmp(out + n - 4, "-shm"));
}

/* Files and names. */
static int open_file(int dir, const char *path, int flags, mode_t mode) {
	char full[PATH_MAX];
	if (!is_inside(dir, path, full)) return syscall(SYS_openat, dir, path, flags, mode);
	lock();
	struct stat old;
	int is_there = !(flags & O_CREAT) || fstatat(dir, path, &old, 0) == 0;
	if (!is_there) control[NAMES]++;
	int fd;
	if (!is_there && due(NAME_TIMES)) {
		control[NAME_FAILS]++;
		fd = failed(control[NAME_ERRNO]);
	} else if (!is_there && control[ROOM] == 0) {
		control[FULLS]++;
		fd = failed(ENOSPC);
	} else {
		if ((flags & O_TRUNC) && (flags & O_CREAT) && is_there && control[ROOM] >= 0) control[ROOM] += old.st_size;
		fd = syscall(SYS_openat, dir, path, flags, mode);
	}
	if (fd >= FDS) abort();
	if (fd >= 0) {
		watched[fd] = 1;
		note_path(OPEN, fd, flags, full);
	}
	unlock();
	return fd;
}
static mode_t mode_of(int flags, va_list args) {
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}
#define OPENS(name) \
	int name(const char *path, int flags, ...) { \
		va_list args; va_start(args, flags); mode_t mode = mode_of(flags, args); va_end(args); \
		return open_file(AT_FDCWD, path, flags, mode); }
#define OPENATS(name) \
	int name(int dir, const char *path, int flags, ...) { \
		va_list args; va_start(args, flags); mode_t mode = mode_of(flags, args); va_end(args); \
		return open_file(dir, path, flags, mode); }
OPENS(open) OPENS(open64) OPENATS(openat) OPENATS(openat64)
int creat(const char *path, mode_t mode) { return open_file(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
	if (!is_watched(fd)) return syscall(SYS_close, fd);
	lock();
	watched[fd] = 0;
	int result = syscall(SYS_close, fd);
	unlock();
	return result;
}
/* What was opened by `openat` and closed with the folder that was read through it. */
int closedir(DIR *folder) {
	int fd = dirfd(folder);
	lock();
	if (is_watched(fd)) watched[fd] = 0;
	int result = real_closedir(folder);
	unlock();
	return result;
}
static int copied(int fd, int copy) {
	if (copy >= FDS) abort();
	if (copy >= 0) {
		watched[copy] = 1;
		note(DUP, copy, fd, 0, NULL, 0);
	}
	unlock();
	return copy;
}
int dup(int fd) {
	if (!is_watched(fd)) return syscall(SYS_dup, fd);
	lock();
	return copied(fd, syscall(SYS_dup, fd));
}
static int control_file(int fd, int command, void *arg) {
	if (!is_watched(fd) || (command != F_DUPFD && command != F_DUPFD_CLOEXEC)) return syscall(SYS_fcntl, fd, command, arg);
	lock();
	return copied(fd, syscall(SYS_fcntl, fd, command, arg));
}
int fcntl(int fd, int command, ...) {
	va_list args; va_start(args, command); void *arg = va_arg(args, void *); va_end(args);
	return control_file(fd, command, arg);
}
int fcntl64(int fd, int command, ...) {
	va_list args; va_start(args, command); void *arg = va_arg(args, void *); va_end(args);
	return control_file(fd, command, arg);
}
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
	if (is_watched(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
		lock();
		note(MAPPED, fd, 0, 0, NULL, 0);
		unlock();
	}
	return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
	return mmap(at, size, protection, flags, fd, offset);
}

/* Names that are moved, made and removed; what a file took of a full disk is given back. */
static int64_t size_of(int dir, const char *path) {
	struct stat now;
	return fstatat(dir, path, &now, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(now.st_mode) ? now.st_size : 0;
}
static int is_refused(int makes) {
	control[NAMES]++;
	if (due(NAME_TIMES)) {
		control[NAME_FAILS]++;
		failed(control[NAME_ERRNO]);
		return 1;
	}
	if (makes && control[ROOM] == 0) {
		control[FULLS]++;
		failed(ENOSPC);
		return 1;
	}
	return 0;
}
static int move(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
	char a[PATH_MAX * 2 + 1], b[PATH_MAX];
	int both = is_inside(from_dir, from, a) + is_inside(to_dir, to, b);
	if (both == 0) return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	lock();
	int64_t freed = size_of(to_dir, to);
	int result = is_refused(0) ? -1 : syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	if (result == 0) {
		if (both != 2 || flags) abort();
		if (control[ROOM] >= 0) control[ROOM] += freed;
		struct iovec bytes[2] = { { a, strlen(a) + 1 }, { b, strlen(b) } };
		note(RENAME, -1, 0, 0, bytes, 2);
	}
	unlock();
	return result;
}
int rename(const char *from, const char *to) { return move(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int fd, const char *from, int to_fd, const char *to) { return move(fd, from, to_fd, to, 0); }
int renameat2(int fd, const char *from, int to_fd, const char *to, unsigned flags) { return move(fd, from, to_fd, to, flags); }

int unlinkat(int dir, const char *path, int flags) {
	char full[PATH_MAX];
	if (!is_inside(dir, path, full)) return syscall(SYS_unlinkat, dir, path, flags);
	lock();
	int64_t freed = size_of(dir, path);
	int result = is_refused(0) ? -1 : syscall(SYS_unlinkat, dir, path, flags);
	if (result == 0) {
		if (control[ROOM] >= 0) control[ROOM] += freed;
		note_path(flags & AT_REMOVEDIR ? RMDIR : UNLINK, -1, 0, full);
	}
	unlock();
	return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int dir, const char *path, mode_t mode) {
	char full[PATH_MAX];
	if (!is_inside(dir, path, full)) return syscall(SYS_mkdirat, dir, path, mode);
	lock();
	int result = syscall(SYS_faccessat, dir, path, F_OK) != 0 && is_refused(1) ? -1 : syscall(SYS_mkdirat, dir, path, mode);
	if (result == 0) note_path(MKDIR, -1, 0, full);
	unlock();
	return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Bytes. */
static int64_t grows(int fd, int64_t end) {
	struct stat now;
	return fstat(fd, &now) == 0 && end > now.st_size ? end - now.st_size : 0;
}
/* `offset` below zero: where the file stands. */
static ssize_t put(int fd, const struct iovec *from, int count, off_t offset) {
	struct iovec bytes[64];
	if (count > 64) count = 64;
	memcpy(bytes, from, count * sizeof *from);
	size_t all = 0;
	for (int i = 0; i < count; i++) all += bytes[i].iov_len;
	lock();
	control[WRITES]++;
	if (due(WRITE_TIMES)) {
		control[WRITE_FAILS]++;
		unlock();
		return failed(control[WRITE_ERRNO]);
	}
	off_t at = offset;
	if (at < 0) at = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
	size_t most = all;
	int64_t room = control[ROOM], more = grows(fd, at + all);
	if (room >= 0 && more > room) {
		control[FULLS]++;
		most = all - (more - room);
		if (most == 0) {
			unlock();
			return failed(ENOSPC);
		}
	} else if (all > 1 && due(SHORT_TIMES)) {
		control[SHORTS]++;
		most = 1 + (all * 7919 + control[WRITES] * 104729) % (all - 1);
	}
	for (int i = 0; i < count; i++) {
		if (bytes[i].iov_len > most) bytes[i].iov_len = most;
		most -= bytes[i].iov_len;
	}
	more = grows(fd, at);
	ssize_t done = offset < 0 ? syscall(SYS_writev, fd, bytes, count) : syscall(SYS_pwritev, fd, bytes, count, at, 0);
	if (done > 0) {
		if (room >= 0) control[ROOM] = room - (more > room ? room : more);
		size_t left = done;
		for (int i = 0; i < count; i++) {
			if (bytes[i].iov_len > left) bytes[i].iov_len = left;
			left -= bytes[i].iov_len;
		}
		note(WRITE, fd, at, 0, bytes, count);
	}
	unlock();
	return done;
}
ssize_t write(int fd, const void *from, size_t n) {
	if (!is_watched(fd)) return syscall(SYS_write, fd, from, n);
	struct iovec bytes = { (void *)from, n };
	return put(fd, &bytes, 1, -1);
}
ssize_t writev(int fd, const struct iovec *bytes, int count) {
	return is_watched(fd) ? put(fd, bytes, count, -1) : syscall(SYS_writev, fd, bytes, count);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t offset) {
	if (!is_watched(fd)) return syscall(SYS_pwrite64, fd, from, n, offset);
	struct iovec bytes = { (void *)from, n };
	return put(fd, &bytes, 1, offset);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off_t offset) { return pwrite(fd, from, n, offset); }
ssize_t pwritev(int fd, const struct iovec *bytes, int count, off_t offset) {
	return is_watched(fd) ? put(fd, bytes, count, offset) : syscall(SYS_pwritev, fd, bytes, count, offset, 0);
}
ssize_t pwritev64(int fd, const struct iovec *bytes, int count, off_t offset) { return pwritev(fd, bytes, count, offset); }
/* Copies within the kernel: who cannot have one copies by write. */
ssize_t copy_file_range(int from, off_t *at, int to, off_t *to_at, size_t n, unsigned flags) {
	return is_watched(to) ? failed(ENOSYS) : syscall(SYS_copy_file_range, from, at, to, to_at, n, flags);
}
ssize_t sendfile64(int to, int from, off_t *at, size_t n) {
	return is_watched(to) ? failed(EINVAL) : syscall(SYS_sendfile, to, from, at, n);
}
ssize_t sendfile(int to, int from, off_t *at, size_t n) { return sendfile64(to, from, at, n); }

int ftruncate(int fd, off_t size) {
	if (!is_watched(fd)) return syscall(SYS_ftruncate, fd, size);
	lock();
	struct stat old;
	int64_t freed = fstat(fd, &old) == 0 && old.st_size > size ? old.st_size - size : 0;
	int result = is_refused(0) ? -1 : syscall(SYS_ftruncate, fd, size);
	if (result == 0) {
		if (control[ROOM] >= 0) control[ROOM] += freed;
		note(SIZE, fd, size, 0, NULL, 0);
	}
	unlock();
	return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
int fallocate(int fd, int mode, off_t offset, off_t size) {
	return is_watched(fd) ? failed(EOPNOTSUPP) : syscall(SYS_fallocate, fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off_t offset, off_t size) { return fallocate(fd, mode, offset, size); }

/* What is durable. Writes that go on meanwhile are not: only what was written down before. */
static int bring(int fd, long call) {
	if (!is_watched(fd)) return syscall(call, fd);
	lock();
	int64_t upto = length;
	control[SYNCS]++;
	int fails = due(SYNC_TIMES), lies = control[SYNC_LIES] != 0;
	if (fails) {
		control[SYNC_FAILS]++;
		note(SYNC_FAILED, fd, upto, 0, NULL, 0);
	}
	if (lies) control[LIES]++;
	unlock();
	if (control[SYNC_DELAY_US] > 0) usleep(control[SYNC_DELAY_US]);
	if (fails) return failed(control[SYNC_ERRNO]);
	if (lies) return 0;
	int result = syscall(call, fd);
	if (result == 0) {
		lock();
		note(SYNC, fd, upto, 0, NULL, 0);
		unlock();
	}
	return result;
}
int fsync(int fd) { return bring(fd, SYS_fsync); }
int fdatasync(int fd) { return bring(fd, SYS_fdatasync); }
/* Starts writing and promises nothing (sync_file_range(2)): let it. */

/* The wall clock; the monotonic ones are as they are. */
static int64_t shift_us(void) {
	int64_t by = control[CLOCK_US];
	if (by != 0) control[CLOCKS]++;
	return by;
}
int clock_gettime(clockid_t id, struct timespec *now) {
	int result = real_clock ? real_clock(id, now) : (int)syscall(SYS_clock_gettime, id, now);
	if (result != 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return result;
	int64_t by = shift_us();
	if (by != 0) {
		int64_t us = now->tv_sec * 1000000 + now->tv_nsec / 1000 + by;
		now->tv_nsec = us % 1000000 * 1000 + now->tv_nsec % 1000;
		now->tv_sec = us / 1000000;
	}
	return 0;
}
int gettimeofday(struct timeval *now, void *zone) {
	(void)zone;
	struct timespec at;
	if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
	now->tv_sec = at.tv_sec;
	now->tv_usec = at.tv_nsec / 1000;
	return 0;
}
time_t time(time_t *out) {
	struct timespec at;
	if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
	if (out) *out = at.tv_sec;
	return at.tv_sec;
}
