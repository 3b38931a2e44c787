/* Starts the warden, and serve's two calls to it. What the warden does is in warden_loop.c. */
#include "runner/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/tools.h"
#include "runner/warden_internal.h"

_Static_assert(WARDEN_FDS_MAX == FDPASS_MAX, "one bound on descriptors");

#define TOOL "creel-runner-tree"

/* The tree tool stands beside this program in a build tree, and in libexec when installed. */
static int open_tool(struct err *err)
{
    static const char *const places[] = {TOOL, "../libexec/creel/" TOOL};
    char exe[4096], path[4200];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return err_errno(err, ERR_FAIL, "cannot find the path of this program");
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s", exe, places[i]);
        int fd = open(path, O_PATH | O_CLOEXEC);
        if (fd >= 0 && faccessat(AT_FDCWD, path, X_OK, 0) == 0)
            return fd;
        fd_close(&fd);
    }
    return err_set(err, ERR_FAIL, "%s is missing beside %s/creel-runner", TOOL, exe);
}

static int load_host_key(const char *path, char out[static KEY_FPR_SIZE], struct err *err)
{
    struct ssh_pub pub;
    struct buf line;
    if (!path)
        return err_set(err, ERR_USAGE, "the host key file (--host-key) is missing");
    buf_init(&line, KEY_LINE_MAX);
    int rc = file_read(AT_FDCWD, path, &line, err);
    if (rc == 0) {
        buf_addc(&line, 0);
        rc = ssh_pub_parse((const char *)line.data, &pub, err);
    }
    buf_done(&line);
    if (rc < 0) {
        err_wrap(err, "host key %s", path);
        return rc;
    }
    ssh_pub_fingerprint(&pub, out);
    return 0;
}

static int load_setup(const struct runner_config *cfg, struct warden_setup *out, struct err *err)
{
    *out = (struct warden_setup){.tool = -1, .slots = cfg->slots ? cfg->slots : 1};
    if (out->slots > RUNNER_SLOTS_MAX)
        return err_set(err, ERR_USAGE, "more than %d slots", RUNNER_SLOTS_MAX);
    if (cfg->disks)
        snprintf(out->disks, sizeof out->disks, "%s", cfg->disks);
    else if (cfg->state_dir)
        snprintf(out->disks, sizeof out->disks, "%s/disks", cfg->state_dir);
    /* The keeper follows no link on the way to an image. */
    if (cfg->images && !(out->images = realpath(cfg->images, NULL)))
        return err_errno(err, ERR_USAGE, "--images %s", cfg->images);
    if (cfg->caches && !(out->caches = realpath(cfg->caches, NULL)))
        return err_errno(err, ERR_USAGE, "--caches %s", cfg->caches);
    if (cfg->tools && tools_check(cfg->tools, &out->tools, err) < 0)
        return err_wrap(err, "--tools");
    struct caches caches;
    int looked = caches_open(&caches, out->caches, err);
    caches_done(&caches);
    if (looked < 0)
        return looked;
    int rc = controller_keys_load(cfg->controllers, &out->keys, err);
    if (rc == 0)
        rc = load_host_key(cfg->host_key, out->host_key, err);
    if (rc == 0)
        rc = out->tool = open_tool(err);
    return rc < 0 ? rc : 0;
}

/* Root keeps what the warden's acts take and nothing else: give files and cgroups to a slot's ids,
 * map them, signal and look at their processes, bind their oom_score_adj (SYS_RESOURCE). SYS_ADMIN is for AppArmor, which on some systems lets
 * only its holders make usable user namespaces. */
static int keep_few_capabilities(struct err *err)
{
    static const int kept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_KILL,       CAP_SETGID,
                               CAP_SETUID, CAP_SYS_ADMIN,    CAP_SYS_PTRACE, CAP_SYS_RESOURCE};
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2], want[2] = {0};
    if (syscall(SYS_capget, &head, have) < 0)
        return err_errno(err, ERR_FAIL, "cannot read the warden's capabilities");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        uint32_t bit = CAP_TO_MASK(kept[i]) & have[CAP_TO_INDEX(kept[i])].permitted;
        want[CAP_TO_INDEX(kept[i])].permitted |= bit;
        want[CAP_TO_INDEX(kept[i])].effective |= bit;
    }
    if (syscall(SYS_capset, &head, want) < 0)
        return err_errno(err, ERR_FAIL, "cannot give up the warden's capabilities");
    return 0;
}

/* The forked child: in a session of its own, deaf to the signals of a terminal or a service manager,
 * since its end must be the orderly one that follows serve's. */
static void __attribute__((noreturn)) warden_main(struct warden_setup *setup, int sock, pid_t serve)
{
    struct err err = ERR_INIT;
    const int keep[] = {sock, setup->tool};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    setsid();
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_NAME, "creel-warden");
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || fds_keep_only(keep, 2) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        keep_few_capabilities(&err) < 0)
        _exit(ERR_FAIL);
    _exit(warden_loop(setup, sock, serve, &err) == -ERR_FAIL ? 0 : ERR_FAIL);
}

int warden_start(const struct runner_config *cfg, int *ret_fd, pid_t *ret_pid, struct err *err)
{
    struct warden_setup setup;
    int ends[2] = {-1, -1};
    pid_t pid = -1, serve = getpid();
    int rc = load_setup(cfg, &setup, err);
    if (rc < 0)
        goto out;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        rc = err_errno(err, ERR_FAIL, "no socket for the warden");
        goto out;
    }
    pid = fork();
    if (pid == 0)
        warden_main(&setup, ends[1], serve);
    if (pid < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot fork the warden");
        goto out;
    }
    *ret_fd = ends[0];
    *ret_pid = pid;
    ends[0] = -1;
out:
    fds_close(ends, 2);
    fd_close(&setup.tool);
    return rc;
}

int warden_send(int fd, const struct warden_request *req, const int *fds, size_t nfds,
                struct err *err)
{
    return fdpass_send(fd, req, sizeof *req, fds, nfds, err);
}

int warden_recv(int fd, struct warden_reply *ret, int fds[static WARDEN_FDS_MAX], size_t *ret_nfds,
                struct err *err)
{
    int rc = fdpass_recv(fd, ret, sizeof *ret, fds, ret_nfds, err);
    if (rc < 0)
        return err_wrap(err, "the warden");
    if (rc == 1)
        ret->detail[sizeof ret->detail - 1] = 0;
    return rc;
}
