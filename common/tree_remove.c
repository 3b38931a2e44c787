/* Removing a tree that a stranger made. Its depth and width are the stranger's choice, so neither the
 * stack, nor descriptors, nor memory may grow with them: a directory found inside another is moved up
 * to the top, where a counter names it, and emptied in its turn. Every step is one component below an
 * open descriptor; a link is unlinked, never followed; a mount point is never entered.
 * Nothing else may be writing in the tree: whoever made it is dead by now. */
#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sodium.h>

#define PASSES_MAX 8

struct removal {
    int top;             /* the tree's own directory */
    uint64_t tag;        /* random, so that the stranger cannot have used our names */
    uint64_t made, done; /* names handed out, names dealt with */
};

struct hoist_name {
    char text[64];
};

static struct hoist_name hoist_name(const struct removal *rm, uint64_t n)
{
    struct hoist_name name;
    snprintf(name.text, sizeof(name.text), ".rm-%016llx-%llu", (unsigned long long)rm->tag,
             (unsigned long long)n);
    return name;
}

/* Opens a directory without crossing a link or a mount; -1 with errno. */
static int step_into(int dirfd, const char *name)
{
    const struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
    };
    return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
}

/* Gives us back a directory that its maker has closed to its owner. Links were ruled out before. */
static void unlock_dir(int dirfd, const char *name, mode_t mode)
{
    if ((mode & 0700) != 0700 && fchmodat(dirfd, name, 0700, 0) != 0)
        return; /* the open or rename that follows tells why */
}

/* Deals with one entry of `dirfd`: a directory becomes the top's next numbered one, anything else is
 * unlinked. 0, or -1 with errno. */
static int hoist_or_unlink(struct removal *rm, int dirfd, const char *name)
{
    struct stat st;
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int saved = errno;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    if (!S_ISDIR(st.st_mode)) {
        errno = saved;
        return -1;
    }
    /* Most directories in a tree's leaves are soon empty; those need no detour. */
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
        return 0;
    unlock_dir(dirfd, name, st.st_mode);
    struct hoist_name to = hoist_name(rm, rm->made);
    if (renameat2(dirfd, name, rm->top, to.text, RENAME_NOREPLACE) != 0)
        return -1;
    rm->made++;
    return 0;
}

/* Reads through a directory (whose descriptor it takes), dealing with each entry. */
static int sweep(struct removal *rm, int fd)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        fd_close(&fd);
        return -1;
    }
    char ours[32];
    snprintf(ours, sizeof(ours), ".rm-%016llx-", (unsigned long long)rm->tag);
    int r = 0;
    while (r == 0) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            r = errno == 0 ? 0 : -1;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        /* What was hoisted already has its turn coming by number. */
        if (strncmp(e->d_name, ours, strlen(ours)) == 0)
            continue;
        r = hoist_or_unlink(rm, fd, e->d_name);
    }
    int saved = errno;
    closedir(dir);
    errno = saved;
    return r;
}

/* Empties and removes the numbered directory `name` of the top. A filesystem may leave entries out of
 * a reading that removes others: then it is read again. */
static int take_down(struct removal *rm, const char *name)
{
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        int fd = step_into(rm->top, name);
        if (fd < 0 || sweep(rm, fd) != 0)
            return -1;
        if (unlinkat(rm->top, name, AT_REMOVEDIR) == 0)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
    }
    return -1;
}

static int top_empty(struct removal *rm)
{
    int fd = openat(rm->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || sweep(rm, fd) != 0)
        return -1;
    for (; rm->done < rm->made; rm->done++) {
        struct hoist_name name = hoist_name(rm, rm->done);
        if (take_down(rm, name.text) != 0)
            return -1;
    }
    return 0;
}

int tree_remove(int dirfd, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_errno(err, ERR_FAIL, "cannot inspect %s", name);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
            return 0;
        return err_errno(err, ERR_FAIL, "cannot remove %s", name);
    }
    unlock_dir(dirfd, name, st.st_mode);
    struct removal rm = {0};
    rm.top = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (rm.top < 0)
        return err_errno(err, ERR_FAIL, "cannot open %s", name);
    randombytes_buf(&rm.tag, sizeof(rm.tag));
    int r = -1;
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        if (top_empty(&rm) != 0)
            break;
        if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0) {
            r = 0;
            break;
        }
        if (errno != ENOTEMPTY && errno != EEXIST)
            break;
    }
    if (r != 0)
        r = err_errno(err, ERR_FAIL, "cannot remove all of %s", name);
    fd_close(&rm.top);
    return r;
}
