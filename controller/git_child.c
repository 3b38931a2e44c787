/* One `git` process, see the header. */
#include "controller/git_child.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/file.h"

#define ENV_TEXT_MAX (3 * PATH_MAX)
#define STDERR_MAX   65536

/* Options before the verb: whatever the repository's own configuration says, nothing else runs. */
static const char *const quiet[] = {
    "git",       "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c",
    "gc.auto=0", "-c", "protocol.allow=never",
};
#define QUIET (sizeof(quiet) / sizeof(quiet[0]))
/* Of `quiet`: all but the last two words, which forbid every transport. */
#define QUIET_OPERATOR (QUIET - 2)

struct env {
    char git_dir[PATH_MAX + 16];
    char alternates[2 * PATH_MAX + 64];
    char path[ENV_TEXT_MAX];
    char *v[20];
    char **operator; /* instead of v: allocated, the strings are others' */
};

/* Quoted, so that a colon in a path is not a separator (git since 2.11). */
static void env_alternates(struct env *e, const char *dir)
{
    size_t n = (size_t)snprintf(e->alternates, sizeof(e->alternates),
                                "GIT_ALTERNATE_OBJECT_DIRECTORIES=\"");
    for (; *dir != '\0' && n + 4 < sizeof(e->alternates); dir++) {
        if (*dir == '"' || *dir == '\\') {
            e->alternates[n++] = '\\';
        }
        e->alternates[n++] = *dir;
    }
    e->alternates[n++] = '"';
    e->alternates[n] = '\0';
}

static void env_make(struct env *e, const struct git_child *g)
{
    static const char *const fixed[] = {
        "HOME=/nonexistent",
        "LC_ALL=C",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_ATTR_NOSYSTEM=1",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_OPTIONAL_LOCKS=0",
        "GIT_NO_REPLACE_OBJECTS=1",
        "GIT_NO_LAZY_FETCH=1",
        "GIT_COMMITTER_NAME=creel",
        "GIT_COMMITTER_EMAIL=creel@creel.invalid",
    };
    const char *path = getenv("PATH");
    size_t n = 0;
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        e->v[n++] = (char *)(uintptr_t)fixed[i]; /* posix_spawn only reads them */
    }
    snprintf(e->path, sizeof(e->path), "PATH=%s", path != NULL ? path : "/usr/bin:/bin");
    e->v[n++] = e->path;
    snprintf(e->git_dir, sizeof(e->git_dir), "GIT_DIR=%s", g->git_dir);
    e->v[n++] = e->git_dir;
    if (g->objects_from != NULL) {
        env_alternates(e, g->objects_from);
        e->v[n++] = e->alternates;
    }
    e->v[n] = NULL;
}

/* Our environment, but for what says which repository is meant (git rev-parse --local-env-vars). */
static int env_operator(struct env *e, const struct git_child *g, struct err *err)
{
    static const char *const local[] = {
        "GIT_DIR=",          "GIT_WORK_TREE=",  "GIT_IMPLICIT_WORK_TREE=",
        "GIT_INDEX_FILE=",   "GIT_COMMON_DIR=", "GIT_OBJECT_DIRECTORY=",
        "GIT_PREFIX=",       "GIT_GRAFT_FILE=", "GIT_ALTERNATE_OBJECT_DIRECTORIES=",
        "GIT_SHALLOW_FILE=", "GIT_NAMESPACE=",  "GIT_REPLACE_REF_BASE=",
        "LC_ALL=",
    };
    size_t n = 0, kept = 0;
    while (environ[n] != NULL) {
        n++;
    }
    e->operator= calloc(n + 3, sizeof(*e->operator));
    if (e->operator== NULL) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        bool ours = false;
        for (size_t j = 0; j < sizeof(local) / sizeof(local[0]); j++) {
            ours = ours || strncmp(environ[i], local[j], strlen(local[j])) == 0;
        }
        if (!ours) {
            e->operator[kept++] = environ[i];
        }
    }
    snprintf(e->git_dir, sizeof(e->git_dir), "GIT_DIR=%s", g->git_dir);
    e->operator[kept++] = e->git_dir;
    e->operator[kept] =(char *)(uintptr_t) "LC_ALL=C";
    return 0;
}

static int spawn(const struct git_child *g, int out, int errfd, pid_t *ret, struct err *err)
{
    struct env env = {.operator= NULL };
    char *argv[QUIET + GIT_ARGS_MAX + 1];
    size_t n = 0;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    env_make(&env, g);
    if (g->as_operator && env_operator(&env, g, err) < 0) {
        return -ERR_FAIL;
    }
    for (size_t i = 0; i < (g->as_operator ? QUIET_OPERATOR : QUIET); i++) {
        argv[n++] = (char *)(uintptr_t)quiet[i];
    }
    for (size_t i = 0; i < GIT_ARGS_MAX && g->args[i] != NULL; i++) {
        argv[n++] = (char *)(uintptr_t)g->args[i];
    }
    argv[n] = NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    if (g->in_fd >= 0) {
        posix_spawn_file_actions_adddup2(&actions, g->in_fd, STDIN_FILENO);
    } else {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errfd, STDERR_FILENO);
    int e = posix_spawnp(ret, "git", &actions, &attr, argv,
                         g->as_operator ? env.operator : env.v);
    free(env.operator);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    errno = e;
    return e != 0 ? err_errno(err, ERR_FAIL, "cannot run git (is it installed?)") : 0;
}

/* Reads what is there; false at the end. Over the ceiling it goes on reading and keeps nothing, so
 * that the child does not hang. */
static bool drain(int fd, struct buf *to)
{
    char bytes[8192];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    if (n > 0) {
        buf_add(to, bytes, (size_t)n);
    }
    return n > 0;
}

static void drain_both(int out, int errfd, struct buf *to, struct buf *complaint)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = errfd, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return;
        }
        if (fds[0].fd >= 0 && fds[0].revents != 0 && !drain(out, to)) {
            fds[0].fd = -1;
        }
        if (fds[1].fd >= 0 && fds[1].revents != 0 && !drain(errfd, complaint)) {
            fds[1].fd = -1;
        }
    }
}

/* The verb: the first word that is neither an option nor the value of -c. */
static const char *verb(const struct git_child *g)
{
    size_t i = 0;
    while (g->args[i] != NULL && strcmp(g->args[i], "-c") == 0 && g->args[i + 1] != NULL) {
        i += 2;
    }
    return g->args[i] != NULL ? g->args[i] : "?";
}

/* The last line that says something, without git's own prefix. */
static int complain(const struct git_child *g, struct buf *complaint, struct err *err)
{
    char *text = (char *)complaint->data;
    size_t n = complaint->len;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) {
        text[--n] = '\0';
    }
    char *line = n > 0 ? strrchr(text, '\n') : NULL;
    line = n == 0         ? (char *)(uintptr_t) "failed without saying why"
           : line != NULL ? line + 1
                          : text;
    if (strncmp(line, "fatal: ", 7) == 0) {
        line += 7;
    }
    return err_set(err, ERR_FAIL, "git %s: %s", verb(g), line);
}

int git_child_run(const struct git_child *g, struct buf *out, struct err *err)
{
    int outp[2] = {-1, -1}, errp[2] = {-1, -1};
    struct buf complaint;
    pid_t pid;
    int status = 0;
    int rc = 0;
    buf_init(&complaint, STDERR_MAX);
    if (pipe2(outp, O_CLOEXEC) < 0 || pipe2(errp, O_CLOEXEC) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot make a pipe");
        goto out;
    }
    rc = spawn(g, outp[1], errp[1], &pid, err);
    fd_close(&outp[1]);
    fd_close(&errp[1]);
    if (rc < 0) {
        goto out;
    }
    drain_both(outp[0], errp[0], out, &complaint);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        rc = complain(g, &complaint, err);
    } else if (out->failed) {
        rc = err_set(err, ERR_FAIL, "git %s printed more than expected", verb(g));
    }
out:
    for (int i = 0; i < 2; i++) {
        fd_close(&outp[i]);
        fd_close(&errp[i]);
    }
    buf_done(&complaint);
    return rc;
}
