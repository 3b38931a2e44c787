/* The state directory: where it is, that it is ours alone, and the names of what is in it.
 *
 * Knows names, never contents. Whoever could read or write this directory could read keys and
 * results or forge states, so one that is open to others is refused instead of repaired.
 */
#include "controller/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

static int join(char out[static PATH_MAX], struct err *err, const char *a, const char *b,
                const char *c)
{
    int n = snprintf(out, PATH_MAX, "%s%s%s", a, b, c);

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, ERR_USAGE, "path too long: %.60s...", a);
    return 0;
}

static const char *env_dir(const char *name)
{
    const char *v = getenv(name);

    return v && v[0] ? v : NULL;
}

/* XDG Base Directory: a relative $XDG_STATE_HOME is to be ignored. */
static int choose(const char *dir, char out[static PATH_MAX], struct err *err)
{
    const char *v;

    if (!dir)
        dir = env_dir("CREEL_STATE");
    if (dir)
        return join(out, err, dir, "", "");
    v = env_dir("XDG_STATE_HOME");
    if (v && v[0] == '/')
        return join(out, err, v, "/creel", "");
    v = env_dir("HOME");
    if (!v)
        return err_set(err, ERR_USAGE, "HOME is not set: name the state directory with --state");
    return join(out, err, v, "/.local/state/creel", "");
}

int paths_open(const char *dir, bool create, struct paths *out, struct err *err)
{
    char wanted[PATH_MAX];
    struct paths p = {.rootfd = -1};
    int rc = choose(dir, wanted, err);

    if (rc < 0)
        return rc;
    if (create) {
        rc = dir_make(wanted, err);
        if (rc < 0)
            return rc;
    }
    if (!realpath(wanted, p.root)) {
        if (errno == ENOENT)
            return err_set(err, ERR_USAGE, "no state directory at %s: run 'creel init'", wanted);
        return err_errno(err, ERR_FAIL, "state directory %s", wanted);
    }
    p.rootfd = dir_open(p.root, false, true, err);
    if (p.rootfd < 0)
        return err_wrap(err, "state directory");
    *out = p;
    return 0;
}

void paths_close(struct paths *p)
{
    fd_close(&p->rootfd);
}

int paths_at(const struct paths *p, const char *name, char out[static PATH_MAX], struct err *err)
{
    return join(out, err, p->root, "/", name);
}

int paths_task(const struct paths *p, const char *id, const char *name, char out[static PATH_MAX],
               struct err *err)
{
    char rel[PATH_MAX];
    int rc;

    if (!id_valid(id))
        return err_set(err, ERR_USAGE, "'%.40s' is not a task id", id);
    rc = join(rel, err, id, name[0] ? "/" : "", name);
    return rc < 0 ? rc : join(out, err, p->root, "/tasks/", rel);
}

static int make_dir_at(int dirfd, const char *name, struct err *err)
{
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return err_errno(err, ERR_FAIL, "cannot make %s in the state directory", name);
    return 0;
}

int paths_task_dir(const struct paths *p, const char *id, bool create, struct err *err)
{
    char rel[sizeof("tasks/") + ID_SIZE];
    int fd, rc = 0;

    if (!id_valid(id))
        return err_set(err, ERR_USAGE, "'%.40s' is not a task id", id);
    snprintf(rel, sizeof(rel), "tasks/%s", id);
    if (create) {
        rc = make_dir_at(p->rootfd, "tasks", err);
        rc = rc < 0 ? rc : make_dir_at(p->rootfd, rel, err);
    }
    if (rc < 0)
        return rc;
    fd = openat(p->rootfd, rel, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "task directory %s", rel);
    return fd;
}

static int key_path(const struct paths *p, const char *own, char out[static PATH_MAX],
                    struct err *err)
{
    char name[64];
    struct buf b;
    int rc = 0;

    snprintf(name, sizeof(name), "%s.path", own);
    if (faccessat(p->rootfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return paths_at(p, own, out, err);
    buf_init(&b, PATH_MAX - 1);
    rc = file_read(p->rootfd, name, &b, err);
    if (rc == 0 && (b.data[0] != '/' || strlen(buf_str(&b)) != b.len))
        rc = err_set(err, ERR_FAIL, "%s/%s does not hold an absolute path", p->root, name);
    rc = rc < 0 ? rc : join(out, err, buf_str(&b), "", "");
    buf_done(&b);
    return rc;
}

int paths_signing_key(const struct paths *p, char out[static PATH_MAX], struct err *err)
{
    return key_path(p, "keys/signing_key", out, err);
}

int paths_ssh_key(const struct paths *p, char out[static PATH_MAX], struct err *err)
{
    return key_path(p, "keys/ssh_key", out, err);
}

int paths_broker(const struct paths *p, char out[static PATH_MAX], struct err *err)
{
    int rc = paths_at(p, "broker", out, err);
    if (rc == 0 && mkdirat(p->rootfd, "broker", 0700) < 0 && errno != EEXIST)
        rc = err_errno(err, ERR_FAIL, "%s", out);
    return rc;
}
