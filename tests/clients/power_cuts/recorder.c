/* Records what a process does to the files below one folder, in order, for a disk that loses power (disk.py).
 *
 * Preloaded before the C library: every call that changes a file or a folder's names is passed on and, if it succeeded,
 * written to a log. Between fedrec_start and the end of the process alone. What is mapped into memory is not seen;
 * SQLite maps its -shm file alone, which means nothing after a loss of power. That nothing else was missed is checked
 * by playing the whole log: it must end in the very files that are there.
 *
 * One record: kind, two numbers, two lengths (little endian, as the machine), then the two texts.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, SYMLINK, MARK, UNKNOWN };

struct head { uint32_t kind, first_length, second_length, pad; uint64_t file, number; };

static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void emit(const void *bytes, size_t length) {
    const char *next = bytes;
    while (length) {
        ssize_t done = syscall(SYS_write, log_file, next, length);
        if (done <= 0) abort();
        next += done, length -= done;
    }
}

static void record(enum kind kind, uint64_t file, uint64_t number, const void *first, size_t first_length,
                   const void *second, size_t second_length) {
    struct head head = {kind, first_length, second_length, 0, file, number};
    emit(&head, sizeof head), emit(first, first_length), emit(second, second_length);
}

static int inside(const char *path) {
    return log_file >= 0 && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The absolute path of what a call names; relative to a folder's descriptor or to the working directory. */
static int resolve(int folder, const char *path, char *found) {
    char name[64];
    ssize_t length;
    if (log_file < 0) return 0;
    if (path[0] == '/') return snprintf(found, PATH_MAX, "%s", path), inside(found);
    if (folder == AT_FDCWD) strcpy(name, "/proc/self/cwd");
    else snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
    length = readlink(name, found, PATH_MAX - 1);
    if (length < 0) return 0;
    snprintf(found + length, PATH_MAX - length, "/%s", path);
    return inside(found);
}

static int tracked(int file, struct stat *status) {
    char name[64], path[PATH_MAX];
    ssize_t length;
    if (log_file < 0 || file == log_file || fstat(file, status)) return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

/* --- what the workload calls ---------------------------------------------------------------------------------- */
void fedrec_start(const char *folder, const char *log) {
    root_length = strlen(folder);
    strcpy(root, folder);
    log_file = REAL(open)(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log_file < 0) abort();
}

void fedrec_mark(const char *text) {
    pthread_mutex_lock(&lock);
    if (log_file >= 0) record(MARK, 0, 0, text, strlen(text), "", 0);
    pthread_mutex_unlock(&lock);
}

/* --- files ----------------------------------------------------------------------------------------------------- */
static int opened(int folder, const char *path, int flags, mode_t mode, int large) {
    char found[PATH_MAX];
    struct stat before, after;
    int known, watched = (flags & (O_CREAT | O_TRUNC)) && resolve(folder, path, found), file;
    pthread_mutex_lock(&lock);
    known = watched && !fstatat(folder, path, &before, 0);
    file = syscall(SYS_openat, folder, path, flags | (large ? O_LARGEFILE : 0), mode);
    if (file >= 0 && watched && !fstat(file, &after)) {
        if (!known) record(CREATE, after.st_ino, 0, found, strlen(found), "", 0);
        else if ((flags & O_TRUNC) && before.st_size) record(TRUNCATE, after.st_ino, 0, "", 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode, 0); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode, 1); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode, 0); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode, 1); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0); }

static off_t place(int file, const struct stat *status) {
    return fcntl(file, F_GETFL) & O_APPEND ? status->st_size : lseek(file, 0, SEEK_CUR);
}

ssize_t write(int file, const void *bytes, size_t length) {
    struct stat status;
    ssize_t done;
    pthread_mutex_lock(&lock);
    if (tracked(file, &status)) {
        off_t at = place(file, &status);
        done = syscall(SYS_write, file, bytes, length);
        if (done > 0) record(WRITE, status.st_ino, at, bytes, done, "", 0);
    } else done = syscall(SYS_write, file, bytes, length);
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t written_at(int file, const void *bytes, size_t length, off_t at) {
    struct stat status;
    ssize_t done;
    pthread_mutex_lock(&lock);
    done = syscall(SYS_pwrite64, file, bytes, length, at);
    if (done > 0 && tracked(file, &status)) record(WRITE, status.st_ino, at, bytes, done, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return written_at(file, bytes, length, at); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) { return written_at(file, bytes, length, at); }

ssize_t writev(int file, const struct iovec *parts, int count) {
    ssize_t all = 0;
    for (int part = 0; part < count; part++) {
        ssize_t done = write(file, parts[part].iov_base, parts[part].iov_len);
        if (done < 0) return all ? all : done;
        all += done;
        if ((size_t)done < parts[part].iov_len) break;
    }
    return all;
}

static int cut(int file, off_t size) {
    struct stat status;
    int failed;
    pthread_mutex_lock(&lock);
    failed = syscall(SYS_ftruncate, file, size);
    if (!failed && tracked(file, &status)) record(TRUNCATE, status.st_ino, size, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int ftruncate(int file, off_t size) { return cut(file, size); }
int ftruncate64(int file, off64_t size) { return cut(file, size); }

static int flushed(int call, int file) {
    struct stat status;
    int failed;
    pthread_mutex_lock(&lock);
    failed = syscall(call, file);
    if (!failed && tracked(file, &status)) record(SYNC, status.st_ino, 0, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int fsync(int file) { return flushed(SYS_fsync, file); }
int fdatasync(int file) { return flushed(SYS_fdatasync, file); }

/* Ways to write that nothing here plays: refused, so that the caller takes the ordinary one, or said in the log. */
ssize_t sendfile(int out, int in, off_t *offset, size_t count) { errno = ENOSYS; return -1; }
ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) { errno = ENOSYS; return -1; }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned int flags) {
    errno = ENOSYS;
    return -1;
}
int posix_fallocate(int file, off_t offset, off_t length) { return EOPNOTSUPP; }
int fallocate(int file, int mode, off_t offset, off_t length) { errno = EOPNOTSUPP; return -1; }

/* --- names ----------------------------------------------------------------------------------------------------- */
static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags) {
    char before[PATH_MAX], after[PATH_MAX];
    int failed, known = resolve(from_folder, from, before), watched = resolve(to_folder, to, after);
    pthread_mutex_lock(&lock);
    failed = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (!failed && (known || watched))
        record(known && watched && !flags ? RENAME : UNKNOWN, 0, 0, before, strlen(before), after, strlen(after));
    pthread_mutex_unlock(&lock);
    return failed;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned int f) { return renamed(a, from, b, to, f); }

static int removed(int folder, const char *path, int flags) {
    char found[PATH_MAX];
    int failed, watched = resolve(folder, path, found);
    pthread_mutex_lock(&lock);
    failed = syscall(SYS_unlinkat, folder, path, flags);
    if (!failed && watched) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, found, strlen(found), "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int remove(const char *path) {
    int failed = unlink(path);
    return failed && errno == EISDIR ? rmdir(path) : failed;
}

static int made(int folder, const char *path, mode_t mode) {
    char found[PATH_MAX];
    struct stat status;
    int failed, watched = resolve(folder, path, found);
    pthread_mutex_lock(&lock);
    failed = syscall(SYS_mkdirat, folder, path, mode);
    if (!failed && watched && !fstatat(folder, path, &status, 0))
        record(MKDIR, status.st_ino, 0, found, strlen(found), "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int linked(const char *target, int folder, const char *path) {
    char found[PATH_MAX];
    int failed, watched = resolve(folder, path, found);
    pthread_mutex_lock(&lock);
    failed = syscall(SYS_symlinkat, target, folder, path);
    if (!failed && watched) record(SYMLINK, 0, 0, target, strlen(target), found, strlen(found));
    pthread_mutex_unlock(&lock);
    return failed;
}

int symlink(const char *target, const char *path) { return linked(target, AT_FDCWD, path); }
int symlinkat(const char *target, int folder, const char *path) { return linked(target, folder, path); }

int link(const char *from, const char *to) {
    char found[PATH_MAX];
    if (resolve(AT_FDCWD, to, found)) record(UNKNOWN, 0, 0, from, strlen(from), found, strlen(found));
    return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
