/* The helper: a process that the broker forks before it closes its fences. It alone runs the operator's
 * commands and reads his files; it keeps no value: each is sent and wiped.
 *
 * One request after the other. It has no terminal and /dev/null for its standard streams: a command that
 * asks a person must bring its own way (an agent, a window), and what a command prints on stderr is seen
 * with `creel secret test`, not in the engine's log. It ends when the broker's end closes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/secrets_internal.h"

/* Their places in the helper. */
#define SOCK_FD  3
#define DIR_FD   4
#define WATCH_FD 5

static int place(int fd, int at)
{
    return fd == at ? fcntl(fd, F_SETFD, FD_CLOEXEC) : dup3(fd, at, O_CLOEXEC);
}

/* Leaves the helper with three descriptors and nothing of the broker's life. */
static int settle(int sock, int dir, int watch)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    /* Out of each other's way first. */
    int s = fcntl(sock, F_DUPFD_CLOEXEC, 16), d = fcntl(dir, F_DUPFD_CLOEXEC, 16),
        w = fcntl(watch, F_DUPFD_CLOEXEC, 16);
    if (null < 0 || s < 0 || d < 0 || w < 0)
        return -1;
    for (int fd = 0; fd < 3; fd++) {
        if (dup2(null, fd) < 0)
            return -1;
    }
    if (place(s, SOCK_FD) < 0 || place(d, DIR_FD) < 0 || place(w, WATCH_FD) < 0 ||
        close_range(WATCH_FD + 1, ~0u, 0) < 0)
        return -1;
    setsid(); /* fails where it leads one already */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -1;
    prctl(PR_SET_NAME, "creel-secrets");
    return prctl(PR_SET_DUMPABLE, 0) < 0 ? -1 : core_dumps_off();
}

static int resolve(const char *name, struct secret_mem *m, struct err *err)
{
    struct secret_refs refs;
    int rc = secret_refs_load(DIR_FD, &refs, err);
    if (rc < 0)
        return rc;
    const struct secret_ref *r = secret_refs_find(&refs, name);
    if (!r)
        rc = err_set(err, ERR_USAGE, "there is no secret %s; run: creel secret set %s REF", name,
                     name);
    else if ((rc = secret_resolve_into(r->ref, SECRET_RESOLVE_S, SOCK_FD, m, err)) < 0)
        err_wrap(err, "secret %s", name);
    secret_refs_done(&refs);
    return rc;
}

/* The packet: m's memory begins one byte into it. */
static int answer(const char *name, uint8_t *packet)
{
    struct err err = ERR_INIT;
    struct secret_mem m = {.bytes = packet + 1, .cap = SECRET_PACKET_MAX + 1};
    int rc = resolve(name, &m, &err);
    packet[0] = rc < 0 ? (uint8_t)err.code : SECRET_SAYS_VALUE;
    if (rc < 0) {
        m.len = strlen(err.msg);
        memcpy(m.bytes, err.msg, m.len);
    }
    ssize_t n = send(SOCK_FD, packet, 1 + m.len, MSG_NOSIGNAL);
    sodium_memzero(packet, SECRET_PACKET_MAX + 2);
    return n < 0 ? -1 : 0;
}

/* Has secrets.json been replaced? Other files of the directory change often. */
static int look(void)
{
    uint8_t events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    const uint8_t changed = SECRET_SAYS_CHANGED;
    bool ours = false;
    ssize_t n = read(WATCH_FD, events, sizeof events);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(events + at);
        ours = ours || (e->mask & IN_Q_OVERFLOW) || (e->len && strcmp(e->name, SECRETS_FILE) == 0);
        at += (ssize_t)(sizeof *e + e->len);
    }
    return ours && send(SOCK_FD, &changed, 1, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int serve_once(uint8_t *packet)
{
    struct pollfd p[] = {{.fd = SOCK_FD, .events = POLLIN}, {.fd = WATCH_FD, .events = POLLIN}};
    char name[SECRET_NAME_SIZE + 1];
    if (poll(p, 2, -1) < 0)
        return errno == EINTR ? 0 : -1;
    if (p[1].revents && look() < 0)
        return -1;
    if (!p[0].revents)
        return 0;
    ssize_t n = recv(SOCK_FD, name, sizeof name - 1, 0);
    if (n <= 0)
        return n < 0 && errno == EINTR ? 0 : -1;
    name[n] = 0;
    return secret_name_valid(name) ? answer(name, packet) : -1;
}

static _Noreturn void helper(int sock, int dir, int watch)
{
    struct err err = ERR_INIT;
    uint8_t *packet =
        settle(sock, dir, watch) == 0 ? secret_new(SECRET_PACKET_MAX + 2, &err) : NULL;
    while (packet && serve_once(packet) == 0) {
    }
    secret_free(packet);
    _exit(0);
}

static int watch_dir(const char *dir, struct err *err)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, dir, IN_MOVED_TO | IN_DELETE | IN_CLOSE_WRITE) < 0) {
        int rc = err_errno(err, ERR_FAIL, "cannot watch %s", dir);
        fd_close(&fd);
        return rc;
    }
    return fd;
}

int secret_helper_start(const char *dir, int *ret_fd, struct err *err)
{
    int pair[2], dirfd = dir_open(dir, false, true, err);
    if (dirfd < 0)
        return dirfd;
    int rc = 0, watch = watch_dir(dir, err);
    if (watch < 0) {
        close(dirfd);
        return watch;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        rc = err_errno(err, ERR_FAIL, "socketpair");
    } else {
        pid_t pid = fork();
        if (pid == 0)
            helper(pair[1], dirfd, watch);
        close(pair[1]);
        if (pid < 0) {
            rc = err_errno(err, ERR_FAIL, "fork");
            close(pair[0]);
        }
    }
    close(dirfd);
    close(watch);
    if (rc == 0)
        *ret_fd = pair[0];
    return rc;
}
