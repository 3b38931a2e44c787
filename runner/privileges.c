/* Dropping root; see privileges.h. Called once, before the loop and before anything is read that a
 * controller or a jail wrote. */
#include "runner/privileges.h"

#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/seccomp.h"

int privileges_find(const char *user, struct privileges *out, struct err *err)
{
    *out = (struct privileges){.drop = geteuid() == 0, .uid = geteuid(), .gid = getegid()};
    if (!user) {
        if (out->drop)
            return err_set(
                err, ERR_USAGE,
                "started as root: pass --user NAME, the unprivileged account serve becomes");
        return 0;
    }
    const struct passwd *pw = getpwnam(user);
    if (!pw)
        return err_set(err, ERR_USAGE, "--user %s: no such user", user);
    if (pw->pw_uid == 0)
        return err_set(err, ERR_USAGE, "--user %s: must not be root", user);
    if (!out->drop && pw->pw_uid != out->uid)
        return err_set(err, ERR_USAGE, "--user %s: only root can become another user", user);
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    return 0;
}

int privileges_dir(const struct privileges *p, const char *path, struct err *err)
{
    struct stat st;
    bool made = access(path, F_OK) != 0;
    int fd = dir_open(path, true, false, err);
    if (fd < 0)
        return fd;
    int r = 0;
    if (made && p->drop && fchown(fd, p->uid, p->gid) < 0)
        r = err_errno(err, ERR_FAIL, "chown %s", path);
    else if (fstat(fd, &st) < 0)
        r = err_errno(err, ERR_FAIL, "%s", path);
    else if (st.st_uid != p->uid || (st.st_mode & 077))
        r = err_set(err, ERR_FAIL,
                    "%s must belong to uid %u with mode 0700 (it is uid %u, mode %04o): "
                    "chown %u and chmod 700 it",
                    path, (unsigned)p->uid, (unsigned)st.st_uid, (unsigned)(st.st_mode & 07777),
                    (unsigned)p->uid);
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

int privileges_drop(const struct privileges *p, struct err *err)
{
    if (p->drop && (setgroups(0, NULL) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
                    setresuid(p->uid, p->uid, p->uid) < 0))
        return err_errno(err, ERR_FAIL, "cannot drop root");
    if (p->drop && (setuid(0) == 0 || geteuid() == 0 || getuid() == 0))
        return err_set(err, ERR_FAIL, "cannot drop root: it came back");
    /* A change of user sets the dumpable flag by a system-wide default. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_errno(err, ERR_FAIL, "prctl");
    return 0;
}

int privileges_fence(struct err *err)
{
    struct seccomp_filter filter = {0};
    int r = seccomp_compile(&filter, err);
    if (r == 0)
        r = seccomp_apply(&filter, SECCOMP_PLAIN, err);
    seccomp_done(&filter);
    malloc_trim(0); /* compiling takes much, and serve is to be small when idle */
    return r;
}
