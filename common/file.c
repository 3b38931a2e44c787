/* Files and directories. Never follows a link in the last component of what it opens; never leaves a
 * half-written file under the name that readers use. */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#define READ_MIN 4096 /* for files that do not tell their size, as in /proc */

unsigned long files_raise(unsigned long want)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 0;
    if (r.rlim_cur < want) {
        struct rlimit more = {r.rlim_max < want ? r.rlim_max : want, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            r = more;
    }
    return r.rlim_cur;
}

void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int write_all(int fd, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        if (k == 0) {
            errno = EIO;
            return -1;
        }
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

int dir_open(const char *path, bool create, bool owner_only, struct err *err)
{
    if (create && mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_errno(err, ERR_FAIL, "cannot make directory %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "cannot open directory %s", path);
    if (!owner_only)
        return fd;
    struct stat st;
    int r = 0;
    if (fstat(fd, &st) != 0)
        r = err_errno(err, ERR_FAIL, "cannot inspect directory %s", path);
    else if (st.st_uid != geteuid())
        r = err_set(err, ERR_TRUST, "directory %s belongs to another user (uid %u)", path,
                    st.st_uid);
    else if ((st.st_mode & 077) != 0)
        r = err_set(err, ERR_TRUST, "directory %s is open to others (mode %04o); run: chmod 700 %s",
                    path, (unsigned)(st.st_mode & 07777), path);
    if (r == 0)
        return fd;
    fd_close(&fd);
    return r;
}

/* One step of mkdir -p; an existing directory, also behind a link, is fine. */
static int dir_step(const char *path, struct err *err)
{
    struct stat st;
    if (mkdir(path, 0700) == 0)
        return 0;
    int saved = errno;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    errno = saved == EEXIST ? ENOTDIR : saved;
    return err_errno(err, ERR_FAIL, "cannot make directory %s", path);
}

int dir_make(const char *path, struct err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(part))
        return err_set(err, ERR_FAIL, "cannot make a directory: its path has %zu bytes", n);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        int r = dir_step(part, err);
        if (r != 0)
            return r;
        part[i] = i < n ? '/' : '\0';
    }
    return 0;
}

/* Appends until the end of the file. When the room made so far is full, one byte is read beside it:
 * mostly that finds the end, and nothing had to grow. */
static int read_on(int fd, const char *name, struct buf *to, struct err *err)
{
    for (;;) {
        uint8_t probe;
        size_t room = to->cap - to->len;
        ssize_t k = room > 0 ? read(fd, to->data + to->len, room) : read(fd, &probe, 1);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_errno(err, ERR_FAIL, "cannot read %s", name);
        if (k == 0)
            break;
        if (room > 0)
            buf_wrote(to, (size_t)k);
        else if (to->len == to->max)
            return err_set(err, ERR_FAIL, "%s is over %zu bytes", name, to->max);
        else if (buf_add(to, &probe, 1) != 0)
            return err_set(err, ERR_FAIL, "out of memory reading %s", name);
    }
    if (to->cap > 0)
        to->data[to->len] = 0;
    return 0;
}

int file_read(int dirfd, const char *name, struct buf *to, struct err *err)
{
    struct stat st;
    size_t start = to->len;
    /* O_NONBLOCK: a FIFO put in a file's place must not hold us; it has no effect on files. */
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "cannot open %s", name);
    int r = 0;
    if (fstat(fd, &st) != 0)
        r = err_errno(err, ERR_FAIL, "cannot inspect %s", name);
    else if (!S_ISREG(st.st_mode))
        r = err_set(err, ERR_FAIL, "%s is not a regular file", name);
    if (r == 0) {
        /* Room at once where the size is known. A size over the ceiling is found out by reading. */
        size_t left = to->max - to->len;
        uint64_t want = st.st_size > READ_MIN ? (uint64_t)st.st_size : READ_MIN;
        if (!buf_room(to, want < left ? (size_t)want : left))
            r = err_set(err, ERR_FAIL, "out of memory reading %s", name);
        else
            r = read_on(fd, name, to, err);
    }
    if (r != 0 && to->len > start) {
        sodium_memzero(to->data + start, to->len - start);
        to->len = start;
        to->data[start] = 0;
    }
    fd_close(&fd);
    return r;
}

/* Fsyncs the directory that holds `name`, so that the rename itself lasts. */
static int parent_sync(int dirfd, const char *name, struct err *err)
{
    char parent[PATH_MAX] = ".";
    const char *slash = strrchr(name, '/');
    if (slash == name) {
        memcpy(parent, "/", 2);
    } else if (slash) {
        memcpy(parent, name, (size_t)(slash - name));
        parent[slash - name] = '\0';
    }
    int fd = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "cannot open the directory of %s", name);
    int r = fsync(fd) == 0 ? 0 : err_errno(err, ERR_FAIL, "cannot sync the directory of %s", name);
    fd_close(&fd);
    return r;
}

int file_replace(int dirfd, const char *name, const void *bytes, size_t n, mode_t mode,
                 struct err *err)
{
    char tmp[PATH_MAX];
    int len = snprintf(tmp, sizeof(tmp), "%s.tmp.%08x", name, randombytes_random());
    if (len < 0 || len >= (int)sizeof(tmp))
        return err_set(err, ERR_FAIL, "path is over %zu bytes", sizeof(tmp));
    int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "cannot make %s", tmp);
    int r = 0;
    if (fchmod(fd, mode) != 0 || write_all(fd, bytes, n) != 0 || fsync(fd) != 0)
        r = err_errno(err, ERR_FAIL, "cannot write %s", name);
    /* Some filesystems tell of a failed write only here. */
    if (close(fd) != 0 && r == 0)
        r = err_errno(err, ERR_FAIL, "cannot write %s", name);
    if (r == 0 && renameat(dirfd, tmp, dirfd, name) != 0)
        r = err_errno(err, ERR_FAIL, "cannot replace %s", name);
    if (r != 0) {
        unlinkat(dirfd, tmp, 0);
        return r;
    }
    return parent_sync(dirfd, name, err);
}
