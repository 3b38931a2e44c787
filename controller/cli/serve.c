/* creel serve: be the engine, in the foreground; or stop the one that runs. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"

#define STOP_MS 30000

struct serve_opts {
    unsigned idle_exit;
    bool stop;
};

static const struct opt options[] = {
    {.name = "idle-exit",
     .kind = OPT_UINT,
     .offset = offsetof(struct serve_opts, idle_exit),
     .arg = "SECONDS",
     .help = "end after that long with nothing to do (default: never)"},
    {.name = "stop",
     .kind = OPT_FLAG,
     .offset = offsetof(struct serve_opts, stop),
     .help = "end the engine that runs; its tasks go on at their hosts"},
    {.name = NULL},
};

/* The kernel says who listens on the other end: a number in a file could be another process's. */
static int listener(int sock, int *ret_pidfd, struct err *err)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 1)
        return err_errno(err, ERR_FAIL, "cannot tell who the engine is");
    *ret_pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    return *ret_pidfd < 0 ? err_errno(err, ERR_FAIL, "engine, pid %d", (int)peer.pid) : 0;
}

static int stop(const struct paths *p, struct err *err)
{
    struct pollfd wait = {.fd = -1, .events = POLLIN};
    int rc, sock = engine_poke(p, false, NULL);

    if (sock < 0) {
        cli_say("no engine is running");
        return 0;
    }
    rc = listener(sock, &wait.fd, err);
    if (rc == 0 && syscall(SYS_pidfd_send_signal, wait.fd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
        rc = err_errno(err, ERR_FAIL, "cannot stop the engine");
    fd_close(&sock);
    if (rc == 0 && poll(&wait, 1, STOP_MS) != 1)
        rc = err_set(err, ERR_FAIL, "the engine did not end within %d s: see %s/engine.log",
                     STOP_MS / 1000, p->root);
    fd_close(&wait.fd);
    if (rc == 0)
        cli_say("the engine has ended");
    return rc;
}

static int serve(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct serve_opts *o = opts;
    struct paths p = {.rootfd = -1};
    int rc = cli_nargs(nargs, 0, "serve takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : paths_open(cli->state, false, &p, err);
    if (rc < 0)
        return rc;
    rc = o->stop ? stop(&p, err) : engine_run(&p, o->idle_exit, err);
    paths_close(&p);
    return rc;
}

const struct cmd cmd_serve = {
    .name = "serve",
    .args = "[--idle-exit SECONDS] | --stop",
    .summary = "Be the engine that drives tasks, in the foreground.",
    .help =
        "Commands start an engine by themselves when none runs, so this is for a service unit.\n"
        "Stopping it loses nothing: tasks go on at their hosts, the next engine takes over.\n",
    .opts = options,
    .opts_size = sizeof(struct serve_opts),
    .run = serve,
};
