/* Places a task's files; see job_files.h. Runs in the jail, as the job's user, before any program of the
 * task's: what can stand in the way is what a cache brought along. */
#include "runner/job_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "runner/job_env.h"

#define MARK (sizeof TASK_TOKEN_MARK - 1)

/* The directory that the path's last name is in, made where it is missing; *ret_name is that name. */
static int parent_open(int home, const char *path, const char **ret_name)
{
    char name[NAME_MAX + 1];
    int dir = fcntl(home, F_DUPFD_CLOEXEC, 0);
    for (const char *slash; dir >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
        size_t n = (size_t)(slash - path);
        int next = -1;
        if (n > NAME_MAX) {
            errno = ENAMETOOLONG;
        } else {
            memcpy(name, path, n);
            name[n] = 0;
            if (mkdirat(dir, name, 0700) == 0 || errno == EEXIST)
                next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        int saved = errno;
        fd_close(&dir);
        errno = saved;
        dir = next;
    }
    *ret_name = path;
    return dir;
}

static int write_text(int fd, const char *text, const char *token)
{
    int rc = 0;
    for (const char *mark; rc == 0 && (mark = strstr(text, TASK_TOKEN_MARK)); text = mark + MARK) {
        rc = write_all(fd, text, (size_t)(mark - text));
        if (rc == 0)
            rc = write_all(fd, token, JOB_TOKEN_DIGITS);
    }
    return rc < 0 ? rc : write_all(fd, text, strlen(text));
}

static int place(int home, const char *path, const char *text, const char *token, struct err *err)
{
    const char *name;
    int fd = -1, rc = -1, dir = parent_open(home, path, &name);
    if (dir >= 0)
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        rc = write_text(fd, text, token);
    if (rc < 0)
        rc =
            err_errno(err, ERR_FAIL, "the task's file '%.200s' cannot be placed in its home", path);
    fd_close(&fd);
    fd_close(&dir);
    return rc;
}

int job_files_place(int home, const struct cell_order *o, struct err *err)
{
    char *strings[CELL_ORDER_ARGS_MAX + 1], token[JOB_TOKEN_DIGITS + 1];
    int rc = 0;
    if (o->nfiles > TASK_FILES_MAX)
        return err_set(err, ERR_FAIL, "the order has too many files");
    cell_order_strings(o, o->nsetup + o->ncommand + o->ntests + o->nenv, 2 * o->nfiles, strings);
    job_token(o, token);
    for (uint32_t i = 0; rc == 0 && i < o->nfiles; i++)
        rc = place(home, strings[2 * (size_t)i], strings[2 * (size_t)i + 1], token, err);
    sodium_memzero(token, sizeof token);
    return rc;
}
