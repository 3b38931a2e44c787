/* From a reference to its value: runs a command, reads a file, looks at the environment, asks git.
 *
 * Values go from the kernel into locked memory and nowhere else. A command runs in a session of its own,
 * without a terminal, in "/": what it can find out here it can find out in the broker's helper. What it
 * prints besides, on stderr, is whoever's stderr we have; it is in no message of ours. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/secrets_internal.h"

struct run {
    pid_t pid;
    int pidfd, out;
    int peer; /* whoever waits for it; -1 */
    uint64_t end_us;
};

static int spawn(const char *line, int in, int out, pid_t *ret, struct err *err)
{
    char sh[] = "sh", c[] = "-c";
    char *args[] = {sh, c, (char *)(uintptr_t)line, NULL}; /* posix_spawn only reads them */
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (in >= 0)
        posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions, "/");
    int e = posix_spawn(ret, "/bin/sh", &actions, &attr, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    errno = e;
    return e ? err_errno(err, ERR_FAIL, "cannot run its command") : 0;
}

/* Takes what there is; 1 at the end, 0: later, negative: too much, or a failure. */
static int take(int fd, struct secret_mem *m, struct err *err)
{
    for (;;) {
        uint8_t one;
        bool full = m->len == m->cap;
        ssize_t n = full ? read(fd, &one, 1) : read(fd, m->bytes + m->len, m->cap - m->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : err_errno(err, ERR_FAIL, "cannot read it");
        if (n == 0)
            return 1;
        if (full) {
            sodium_memzero(&one, 1);
            return err_set(err, ERR_FAIL, "it is longer than %u bytes", SECRET_VALUE_MAX);
        }
        m->len += (size_t)n;
    }
}

/* Until the command has ended: what it leaves running, as an agent of its own, is not waited for. */
static int collect(struct run *r, struct secret_mem *m, struct err *err)
{
    bool out_ended = false;
    for (;;) {
        uint64_t now = clock_mono_us();
        struct pollfd p[] = {{.fd = r->pidfd, .events = POLLIN},
                             {.fd = out_ended ? -1 : r->out, .events = POLLIN},
                             {.fd = r->peer, .events = POLLRDHUP}};
        if (now >= r->end_us)
            return err_set(err, ERR_FAIL, "its command took too long");
        if (poll(p, 3, (int)((r->end_us - now) / 1000) + 1) < 0 && errno != EINTR)
            return err_errno(err, ERR_FAIL, "poll");
        if (p[2].revents)
            return err_set(err, ERR_FAIL, "nobody waits for it any more");
        int rc = out_ended ? 1 : take(r->out, m, err);
        if (rc < 0)
            return rc;
        out_ended = rc == 1;
        if (p[0].revents)
            return 0; /* it had written all before it ended */
    }
}

static int judge(int status, struct err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        return err_set(err, ERR_FAIL, "its command ended with status %d", WEXITSTATUS(status));
    return err_set(err, ERR_FAIL, "its command was ended by signal %d",
                   WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static int finish(struct run *r, struct secret_mem *m, struct err *err)
{
    int status = 0;
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    int rc = r->pidfd < 0 ? err_errno(err, ERR_FAIL, "pidfd_open") : collect(r, m, err);
    if (rc < 0)
        kill(-r->pid, SIGKILL); /* not reaped yet, so the number is still its */
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR) {
    }
    fd_close(&r->pidfd);
    return rc < 0 ? rc : judge(status, err);
}

/* `input` (or NULL) is small: a pipe takes it at once. */
static int run(const char *line, const char *input, unsigned seconds, int peer,
               struct secret_mem *m, struct err *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    struct run r = {.peer = peer, .pidfd = -1, .end_us = clock_mono_us() + seconds * 1000000ull};
    int rc = 0;
    if (pipe2(out, O_CLOEXEC) < 0 || (input && pipe2(in, O_CLOEXEC) < 0) ||
        fcntl(out[0], F_SETFL, O_NONBLOCK) < 0)
        rc = err_errno(err, ERR_FAIL, "pipe");
    if (rc == 0 && input && write_all(in[1], input, strlen(input)) < 0)
        rc = err_errno(err, ERR_FAIL, "pipe");
    if (rc == 0)
        rc = spawn(line, in[0], out[1], &r.pid, err);
    fd_close(&in[0]);
    fd_close(&in[1]);
    fd_close(&out[1]);
    r.out = out[0];
    if (rc == 0)
        rc = finish(&r, m, err);
    fd_close(&out[0]);
    return rc;
}

static int from_cmd(const char *line, unsigned seconds, int peer, struct secret_mem *m,
                    struct err *err)
{
    return run(line, NULL, seconds, peer, m, err);
}

static int from_file(const char *path, unsigned seconds, int peer, struct secret_mem *m,
                     struct err *err)
{
    struct stat st;
    int rc = 0, fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    (void)seconds;
    (void)peer;
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "%s", path);
    if (fstat(fd, &st) < 0)
        rc = err_errno(err, ERR_FAIL, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_USAGE, "%s is not a regular file", path);
    else if (st.st_uid != geteuid())
        rc = err_set(err, ERR_USAGE, "%s belongs to another user (uid %u)", path, st.st_uid);
    else if ((st.st_mode & 077) != 0)
        rc = err_set(err, ERR_USAGE, "%s is open to others (mode %04o); run: chmod 600 %s", path,
                     st.st_mode & 07777, path);
    else
        rc = take(fd, m, err);
    close(fd);
    return rc < 0 ? rc : 0;
}

static int from_env(const char *name, unsigned seconds, int peer, struct secret_mem *m,
                    struct err *err)
{
    const char *value = getenv(name);
    (void)seconds;
    (void)peer;
    if (!value)
        return err_set(err, ERR_FAIL,
                       "%s is not in the environment of the process that started creel", name);
    size_t n = strlen(value);
    if (n > m->cap)
        return err_set(err, ERR_FAIL, "it is longer than %u bytes", SECRET_VALUE_MAX);
    memcpy(m->bytes, value, n);
    m->len = n;
    return 0;
}

/* Keeps of git's lines the password alone. */
static int keep_password(struct secret_mem *m, struct err *err)
{
    static const char key[] = "password=";
    const size_t nkey = sizeof key - 1;
    for (size_t at = 0; at < m->len;) {
        const uint8_t *lf = memchr(m->bytes + at, '\n', m->len - at);
        size_t end = lf ? (size_t)(lf - m->bytes) : m->len;
        if (end - at > nkey && memcmp(m->bytes + at, key, nkey) == 0) {
            size_t n = end - at - nkey;
            memmove(m->bytes, m->bytes + at + nkey, n);
            sodium_memzero(m->bytes + n, m->len - n);
            m->len = n;
            return 0;
        }
        at = end + 1;
    }
    return err_set(err, ERR_FAIL, "git has no password for it");
}

static int from_git(const char *url, unsigned seconds, int peer, struct secret_mem *m,
                    struct err *err)
{
    char input[SECRET_REF_SIZE + 8];
    snprintf(input, sizeof input, "url=%s\n\n", url);
    int rc = run("GIT_TERMINAL_PROMPT=0 exec git credential fill", input, seconds, peer, m, err);
    return rc < 0 ? rc : keep_password(m, err);
}

/* Its last newline is the program's, not the value's. */
static int trim(struct secret_mem *m, struct err *err)
{
    if (m->len > 0 && m->bytes[m->len - 1] == '\n')
        m->len--;
    if (m->len > 0 && m->bytes[m->len - 1] == '\r')
        m->len--;
    if (m->len == 0)
        return err_set(err, ERR_FAIL, "it is empty");
    if (memchr(m->bytes, 0, m->len))
        return err_set(err, ERR_FAIL, "it holds a NUL byte, so it is no text");
    return m->len <= SECRET_VALUE_MAX
               ? 0
               : err_set(err, ERR_FAIL, "it is longer than %u bytes", SECRET_VALUE_MAX);
}

int secret_resolve_into(const char *ref, unsigned seconds, int peer_fd, struct secret_mem *m,
                        struct err *err)
{
    static const struct {
        const char *kind;
        int (*from)(const char *rest, unsigned seconds, int peer, struct secret_mem *m,
                    struct err *err);
    } kinds[] = {
        {"cmd:", from_cmd},
        {"file:", from_file},
        {"env:", from_env},
        {"git-credential:", from_git},
    };
    int rc = secret_ref_check(ref, err);
    m->len = 0;
    for (size_t i = 0; rc == 0 && i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].kind);
        if (strncmp(ref, kinds[i].kind, n) == 0) {
            rc = kinds[i].from(ref + n, seconds, peer_fd, m, err);
            break;
        }
    }
    if (rc == 0)
        rc = trim(m, err);
    if (rc < 0) {
        sodium_memzero(m->bytes, m->cap);
        m->len = 0;
    }
    return rc;
}

int secret_resolve(const char *ref, struct buf *to, struct err *err)
{
    /* Room for the newline that is taken off. */
    struct secret_mem m = {.cap = SECRET_VALUE_MAX + 2};
    if (!(m.bytes = secret_new(m.cap, err)))
        return -(int)err->code;
    int rc = secret_resolve_into(ref, SECRET_RESOLVE_S, -1, &m, err);
    /* Grown once, so that no copy stays behind in freed memory. */
    if (rc == 0 && (!buf_room(to, m.len) || buf_add(to, m.bytes, m.len) < 0))
        rc = err_set(err, ERR_FAIL, "out of memory");
    secret_free(m.bytes);
    return rc;
}
