/* Names, room and order in the directory of dependency caches; see caches.h. */
#include "runner/caches.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/file.h"

#define NEW       ".new-"
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static void new_name(unsigned slot, char out[static 32])
{
    snprintf(out, 32, NEW "%u", slot);
}

static void remove_halves(int dir)
{
    struct dirent *e;
    struct err ignored = ERR_INIT;
    int fd = openat(dir, ".", DIR_FLAGS);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        fd_close(&fd);
        return;
    }
    while ((e = readdir(d)))
        if (strncmp(e->d_name, NEW, strlen(NEW)) == 0)
            tree_remove(dir, e->d_name, &ignored);
    closedir(d);
}

int caches_open(struct caches *c, const char *path, struct err *err)
{
    *c = (struct caches){.path = path, .dir = -1};
    if (!path)
        return 0;
    int rc = c->dir = dir_open(path, false, true, err);
    if (rc < 0)
        return err_wrap(err, "--caches");
    remove_halves(c->dir);
    return 0;
}

void caches_done(struct caches *c)
{
    fd_close(&c->dir);
}

static int path_of(const struct caches *c, const char *name, char out[static CACHES_PATH_MAX],
                   struct err *err)
{
    return snprintf(out, CACHES_PATH_MAX, "%s/%s", c->path, name) < CACHES_PATH_MAX
               ? 0
               : err_set(err, ERR_FAIL, "the path of the caches' directory is too long");
}

int caches_find(const struct caches *c, const char *digest, char ret_path[static CACHES_PATH_MAX],
                struct err *err)
{
    int fd = c->dir >= 0 && cache_digest_valid(digest) ? openat(c->dir, digest, DIR_FLAGS) : -1;
    if (fd < 0)
        return err_set(err, ERR_REFUSED, "the dependency cache %.16s... is not on this host%s",
                       digest, c->dir < 0 ? ", which keeps none (--caches)" : "");
    futimens(fd, NULL);
    fd_close(&fd);
    return path_of(c, digest, ret_path, err);
}

static bool in_use(const char *digest, const char *const *used, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (used[i] && strcmp(used[i], digest) == 0)
            return true;
    return false;
}

/* Removes the tree that was used longest ago; false: there is none that may go. *ret_n: how many there
 * were. */
static bool evict(const struct caches *c, const char *const *used, size_t n, bool look_only,
                  size_t *ret_n)
{
    char oldest[CACHE_DIGEST_SIZE] = "";
    struct timespec when = {0};
    struct err ignored = ERR_INIT;
    struct dirent *e;
    struct stat st;
    int fd = openat(c->dir, ".", DIR_FLAGS);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    *ret_n = 0;
    if (!d) {
        fd_close(&fd);
        return false;
    }
    while ((e = readdir(d))) {
        if (!cache_digest_valid(e->d_name) ||
            fstatat(c->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        ++*ret_n;
        bool older = !oldest[0] || st.st_mtim.tv_sec < when.tv_sec ||
                     (st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec < when.tv_nsec);
        if (older && !in_use(e->d_name, used, n)) {
            memcpy(oldest, e->d_name, sizeof oldest);
            when = st.st_mtim;
        }
    }
    closedir(d);
    return !look_only && oldest[0] && tree_remove(c->dir, oldest, &ignored) == 0;
}

static bool has_room(const struct caches *c)
{
    struct statvfs fs;
    return fstatvfs(c->dir, &fs) == 0 &&
           (uint64_t)fs.f_bavail * 100 >= (uint64_t)fs.f_blocks * CACHE_FREE_MIN;
}

static int make_room(const struct caches *c, const char *const *used, size_t n, struct err *err)
{
    size_t there = 0;
    evict(c, used, n, true, &there);
    while (there >= CACHES_MAX || !has_room(c)) {
        size_t before;
        if (!evict(c, used, n, false, &before))
            return err_set(err, ERR_FAIL, "there is no room for another dependency cache here");
        there = before - 1;
    }
    return 0;
}

int caches_begin(const struct caches *c, unsigned slot, uid_t owner, const char *const *used,
                 size_t n, char ret_path[static CACHES_PATH_MAX], struct err *err)
{
    char name[32];
    if (c->dir < 0)
        return err_set(err, ERR_REFUSED, "this host keeps no dependency caches (--caches)");
    new_name(slot, name);
    caches_abort(c, slot);
    int rc = make_room(c, used, n, err);
    if (rc == 0 && (mkdirat(c->dir, name, 0700) < 0 || fchmodat(c->dir, name, 0755, 0) < 0 ||
                    fchownat(c->dir, name, owner, owner, AT_SYMLINK_NOFOLLOW) < 0))
        rc = err_errno(err, ERR_FAIL, "a new dependency cache cannot be made");
    return rc < 0 ? rc : path_of(c, name, ret_path, err);
}

int caches_commit(const struct caches *c, unsigned slot, const char *digest, struct err *err)
{
    char name[32];
    new_name(slot, name);
    if (!cache_digest_valid(digest))
        return err_set(err, ERR_FAIL, "not a digest of a dependency cache");
    int rc = renameat2(c->dir, name, c->dir, digest, RENAME_NOREPLACE);
    if (rc < 0 && errno != EEXIST)
        return err_errno(err, ERR_FAIL, "the dependency cache cannot be named");
    if (rc < 0)
        caches_abort(c, slot);
    utimensat(c->dir, digest, NULL, AT_SYMLINK_NOFOLLOW);
    return fsync(c->dir) < 0 ? err_errno(err, ERR_FAIL, "the caches' directory") : 0;
}

void caches_abort(const struct caches *c, unsigned slot)
{
    char name[32];
    struct err ignored = ERR_INIT;
    new_name(slot, name);
    if (c->dir >= 0)
        tree_remove(c->dir, name, &ignored);
}
