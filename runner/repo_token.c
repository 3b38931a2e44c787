/* The place of a repository's token; see repo_token.h. */
#include "runner/repo_token.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/sys.h"

#define NAME "repo-token"
#define NEXT ".repo-token.next"
/* Any user may write there, for serve has no name in the keeper's user namespace; who can get there is
 * serve, by its descriptor. The jail has it read-only. */
#define PLACE_OPTS "size=64k,nr_inodes=8,mode=0777"

static int make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    int rc = fd < 0 ? -1 : fchmod(fd, 0666);
    fd_close(&fd);
    return rc;
}

int repo_token_make(struct err *err)
{
    if (mkdir(REPO_TOKEN_PLACE, 0755) < 0 ||
        sys_mount("token", REPO_TOKEN_PLACE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  PLACE_OPTS) < 0 ||
        make_file(REPO_TOKEN_PLACE "/" NAME) < 0 || make_file(REPO_TOKEN_PLACE "/" NEXT) < 0)
        return err_errno(err, ERR_FAIL, "the place for a repository's token cannot be made");
    return 0;
}

int repo_token_dir(struct err *err)
{
    int fd = open(REPO_TOKEN_PLACE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_errno(err, ERR_FAIL, "the place for a repository's token") : fd;
}

/* With zeros over what was there, then nothing. */
static int clear(int fd)
{
    static const char zeros[4096];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros)
        if (pwrite(fd, zeros, sizeof zeros, at) < 0)
            return -1;
    return ftruncate(fd, 0);
}

static int open_file(int dir, const char *name)
{
    return openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
}

int repo_token_write(int dir, const void *token, size_t n, struct err *err)
{
    int fd = open_file(dir, NEXT), rc = 0;
    if (fd < 0 || clear(fd) < 0 || write_all(fd, token, n) < 0 ||
        syscall(SYS_renameat2, dir, NEXT, dir, NAME, RENAME_EXCHANGE) < 0)
        rc = err_errno(err, ERR_FAIL, "the repository's token cannot be written");
    fd_close(&fd);
    return rc;
}

void repo_token_wipe(int dir)
{
    const char *const names[] = {NAME, NEXT};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int fd = open_file(dir, names[i]);
        if (fd >= 0)
            (void)clear(fd);
        fd_close(&fd);
    }
}
