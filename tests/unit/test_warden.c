/* The warden: what it refuses whatever serve says, and whole attempts through its own socket, with a
 * real source pack, real jails and the real tree tool. */
#include "tests/unit/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <sodium.h>

#include "tests/unit/cm.h"
#include "common/clock.h"
#include "common/sha256.h"
#include "proto/dsse.h"
#include "runner/fdpass.h"
#include "runner/gate.h"
#include "runner/warden_internal.h"

#define ID       "01jdq7z4m2r8k5t3w9x1y6b0cn"
#define HOST_KEY "SHA256:BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE"
#define TOOL     "../../runner/creel-runner-tree"

/* What the kernel says to a user with too many descriptors under way, said on demand: libc's sendmsg
 * is replaced in this program. Shared, since the warden is a process of its own. */
struct refusal_to_send {
    int sock;  /* of which descriptors are not sent */
    int times; /* how often */
    pid_t by;
};
static struct refusal_to_send *refusal_to_send;

ssize_t sendmsg(int sock, const struct msghdr *msg, int flags)
{
    struct refusal_to_send *r = refusal_to_send;
    if (r && r->times > 0 && msg->msg_controllen > 0 && r->sock == sock && r->by == getpid()) {
        r->times--;
        errno = ETOOMANYREFS;
        return -1;
    }
    return syscall(SYS_sendmsg, sock, msg, flags);
}

struct world {
    struct tool tool;
    uint8_t sec[KEY_SEC_BYTES], token[TASK_TOKEN_BYTES];
    struct warden_setup setup;
    struct task task;
    struct buf pack;
    int sock;
    pid_t pid;
};

static void sample(struct world *w)
{
    struct task *t = &w->task;
    char hex[2 * TASK_TOKEN_BYTES + 1];
    task_done(t);
    *t = (struct task){.iat = clock_wall_s(), .fence = 1, .pack_bytes = 100};
    t->nbf = t->iat;
    t->exp = t->iat + 600;
    memcpy(t->id, ID, sizeof ID);
    memcpy(t->attempt, ID ".1", sizeof ID ".1");
    memcpy(t->title, "t", 2);
    key_fingerprint(w->setup.keys.keys[0], t->iss);
    memcpy(t->aud_host, "h", 2);
    memcpy(t->aud_host_key, HOST_KEY, sizeof HOST_KEY);
    memcpy(t->base, "0123456789abcdef0123456789abcdef01234567", TASK_OID_SIZE);
    memcpy(t->root, "1123456789abcdef0123456789abcdef01234567", TASK_OID_SIZE);
    memcpy(t->branch, "creel/" ID, sizeof "creel/" ID);
    strv_add(&t->command, "true");
    policy_init(&t->policy);
    t->policy.limits[LIMIT_DISK] = 64u << 20;
    t->policy.allow_unenforced = CGROUP_LIMITS;
    memset(w->token, 0x5a, sizeof w->token);
    sodium_bin2hex(hex, sizeof hex, w->token, sizeof w->token);
    sha256_of(hex, sizeof hex - 1, t->token_sha256);
}

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w || sodium_init() < 0)
        return -1;
    tool_init(&w->tool);
    crypto_sign_keypair(w->setup.keys.keys[0], w->sec);
    w->setup.keys.n = 1;
    w->setup.slots = 2;
    w->setup.tool = -1;
    memcpy(w->setup.host_key, HOST_KEY, sizeof HOST_KEY);
    w->sock = -1;
    refusal_to_send = mmap(NULL, sizeof *refusal_to_send, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (refusal_to_send == MAP_FAILED)
        return -1;
    buf_init(&w->pack, 1u << 20);
    sample(w);
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    fd_close(&w->sock);
    if (w->pid > 0)
        waitpid(w->pid, NULL, 0);
    fd_close(&w->setup.tool);
    buf_done(&w->pack);
    task_done(&w->task);
    tool_done(&w->tool);
    munmap(refusal_to_send, sizeof *refusal_to_send);
    refusal_to_send = NULL;
    free(w);
    return 0;
}

/* The signed task as it would come from serve. */
static int envelope(const struct world *w, const char *type)
{
    struct err err = ERR_INIT;
    struct buf body, doc;
    buf_init(&body, 1u << 20);
    buf_init(&doc, 1u << 20);
    assert_ok(task_encode(&w->task, &body, &err));
    assert_ok(dsse_sign(w->sec, type, body.data, body.len, &doc, &err));
    int fd = memfd_create("envelope", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, doc.data, doc.len), 0);
    buf_done(&body);
    buf_done(&doc);
    return fd;
}

static struct warden_request request(const struct world *w, enum warden_op op)
{
    struct warden_request req = {.op = op};
    memcpy(req.attempt, w->task.attempt, sizeof req.attempt);
    memcpy(req.token, w->token, sizeof req.token);
    return req;
}

/* The verdict of warden_admit on the task as it stands; NULL: it must pass. */
static void judge(struct world *w, unsigned unenforceable, const char *words)
{
    struct err err = ERR_INIT;
    struct task out = {0};
    struct warden_request req = request(w, WARDEN_OPEN);
    int fd = envelope(w, DSSE_TYPE_TASK);
    int rc = warden_admit(&w->setup, &req, fd, unenforceable, "no cgroup", &out, &err);
    if (words && (rc == 0 || !strstr(err.msg, words)))
        fail_msg("should say \"%s\", says \"%s\"", words, err.msg);
    if (!words && rc < 0)
        fail_msg("%s", err.msg);
    task_done(&out);
    close(fd);
    sample(w);
}

static void admits(void **state)
{
    struct world *w = *state;
    judge(w, 0, NULL);
    judge(w, CGROUP_LIMITS, NULL);
    w->task.policy.allow_unenforced = LIMIT_BIT(LIMIT_CPU);
    judge(w, 0, NULL);
}

static void refuses(void **state)
{
    struct world *w = *state;
    w->task.policy.allow_unenforced = LIMIT_BIT(LIMIT_CPU);
    judge(w, CGROUP_LIMITS, "mem, pids (no cgroup)");
    w->task.aud_host_key[10] ^= 1;
    judge(w, 0, "another host");
    memcpy(w->task.attempt, ID ".2", sizeof ID ".2");
    struct warden_request req = request(w, WARDEN_OPEN);
    memcpy(req.attempt, ID ".1", sizeof ID ".1");
    struct err err = ERR_INIT;
    struct task out = {0};
    int fd = envelope(w, DSSE_TYPE_TASK);
    assert_says(warden_admit(&w->setup, &req, fd, 0, "", &out, &err), "another attempt");
    close(fd);
    sample(w);
    w->token[3] ^= 1;
    judge(w, 0, "token");
    w->task.iat -= 7200;
    w->task.nbf = w->task.iat;
    w->task.exp = w->task.iat + 60;
    judge(w, 0, "not valid now");
    w->task.nbf += 300;
    judge(w, 0, "not valid now");
}

static void refuses_signatures(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct task out = {0};
    struct warden_request req = request(w, WARDEN_OPEN);
    int fd = envelope(w, DSSE_TYPE_RESULT);
    assert_says(warden_admit(&w->setup, &req, fd, 0, "", &out, &err), "type");
    close(fd);
    fd = envelope(w, DSSE_TYPE_TASK);
    w->setup.keys.keys[0][5] ^= 1;
    assert_true(warden_admit(&w->setup, &req, fd, 0, "", &out, &err) == -ERR_TRUST);
    w->setup.keys.keys[0][5] ^= 1;
    assert_int_equal(pwrite(fd, "x", 1, 60), 1);
    assert_true(warden_admit(&w->setup, &req, fd, 0, "", &out, &err) < 0);
    close(fd);
    /* Not a memfd: whoever serves another kind of file could stop the warden. */
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_says(warden_admit(&w->setup, &req, ends[0], 0, "", &out, &err), "memfd");
    close(ends[0]);
    close(ends[1]);
}

/* A warden of our own, or a loud skip where no jail can be made. */
static void start_warden(struct world *w)
{
    struct err err = ERR_INIT;
    int ends[2];
    if (cell_probe(geteuid() == 0, &err) < 0) {
        print_message("SKIP: no jail can be made here: %s\n", err.msg);
        skip();
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    fflush(NULL);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        close(ends[0]);
        refusal_to_send->sock = ends[1];
        refusal_to_send->by = getpid();
        _exit(warden_loop(&w->setup, ends[1], 0, &err) == -ERR_FAIL ? 0 : 1);
    }
    close(ends[1]);
    w->sock = ends[0];
}

static struct warden_reply reply(struct world *w, int fds[static WARDEN_FDS_MAX], size_t *nfds)
{
    struct err err = ERR_INIT;
    struct warden_reply r;
    struct pollfd p = {.fd = w->sock, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_int_equal(warden_recv(w->sock, &r, fds, nfds, &err), 1);
    return r;
}

static struct warden_reply ask(struct world *w, enum warden_op op, enum warden_phase phase,
                               int fds[static WARDEN_FDS_MAX], size_t *nfds)
{
    struct err err = ERR_INIT;
    struct warden_request req = request(w, op);
    int fd = op == WARDEN_OPEN ? envelope(w, DSSE_TYPE_TASK) : -1;
    req.phase = phase;
    assert_ok(warden_send(w->sock, &req, &fd, fd >= 0, &err));
    fd_close(&fd);
    return reply(w, fds, nfds);
}

static void ask_ok(struct world *w, enum warden_op op, enum warden_phase phase,
                   int fds[static WARDEN_FDS_MAX], size_t due)
{
    size_t nfds = 0;
    struct warden_reply r = ask(w, op, phase, fds, &nfds);
    if (r.status != 0)
        fail_msg("request %d: %s", op, r.detail);
    assert_int_equal(r.op, op);
    /* A run's also has the gate's doors. */
    assert_int_equal(nfds, due == JAIL_PIPES ? due + GATE_PORTS + 2 : due);
    if (due == JAIL_PIPES)
        fds_close(fds + due, nfds - due);
}

static void read_all(int *fd, char *out, size_t size)
{
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(*fd, out + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = 0;
    fd_close(fd);
}

static struct warden_reply run_phase(struct world *w, enum warden_phase phase, char *out,
                                     char *errs, int *ret_patch)
{
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    ask_ok(w, WARDEN_START, phase, fds, phase == WARDEN_RUN ? 3 : 2);
    read_all(&fds[0], out, 4096);
    read_all(&fds[1], errs, 4096);
    if (phase == WARDEN_RUN)
        fd_close(&fds[2]);
    struct warden_reply r = reply(w, fds, &nfds);
    assert_int_equal(r.op, WARDEN_EXITED);
    assert_int_equal(r.phase, phase);
    if (r.status != 0)
        fail_msg("phase %d: %s", phase, r.detail);
    if (ret_patch && nfds == 1)
        *ret_patch = fds[0];
    else
        assert_int_equal(nfds, 0);
    return r;
}

static void make_pack(struct world *w)
{
    static const char script[] =
        "cd \"$0\" && git init -q r && cd r && echo hello >greeting && mkdir d && echo x >d/y &&"
        " git add . && c=$(git -c user.name=t -c user.email=t@t commit-tree -m root "
        "$(git write-tree)) && echo $c >../root &&"
        " echo $c | git pack-objects -q --revs --stdout >../pack";
    struct buf root;
    tool_need("git");
    if (TOOL_RUN(&w->tool, NULL, "sh", "-c", script, w->tool.dir) != 0)
        fail_msg("%s", w->tool.out);
    tool_get(&w->tool, "pack", &w->pack);
    buf_init(&root, 64);
    tool_get(&w->tool, "root", &root);
    assert_int_equal(root.len, 41);
    memcpy(w->task.root, root.data, 40);
    buf_done(&root);
    w->task.pack_bytes = w->pack.len;
}

static void need_tree_tool(struct world *w)
{
    char path[4200], exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    assert_true(n > 0);
    exe[n] = 0;
    *strrchr(exe, '/') = 0;
    snprintf(path, sizeof path, "%s/" TOOL, exe);
    w->setup.tool = open(path, O_PATH | O_CLOEXEC);
    if (w->setup.tool < 0) {
        print_message("SKIP: %s is not built\n", path);
        skip();
    }
}

static void whole_attempt(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX], patch = -1;
    size_t nfds = 0;
    char out[4096], errs[4096];
    need_tree_tool(w);
    make_pack(w);
    strv_done(&w->task.command);
    strv_add(&w->task.command, "sh");
    strv_add(&w->task.command, "-c");
    strv_add(&w->task.command, "cat greeting; echo bye >greeting; git -C /task status --short");
    start_warden(w);

    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    assert_int_equal(write_all(fds[0], w->pack.data, w->pack.len), 0);
    fd_close(&fds[0]);
    struct warden_reply r = run_phase(w, WARDEN_CHECKOUT, out, errs, NULL);
    if (r.exit != 0)
        fail_msg("checkout: %d %s", r.exit, errs);
    assert_memory_equal(out, "ok ", 3);
    assert_memory_equal(out + 3, w->task.root, 40);

    r = run_phase(w, WARDEN_RUN, out, errs, NULL);
    assert_int_equal(r.exit, 0);
    assert_string_equal(out, "hello\n M greeting\n");
    assert_string_equal(errs, "");

    r = run_phase(w, WARDEN_COLLECT, out, errs, &patch);
    if (r.exit != 0)
        fail_msg("collect: %d %s", r.exit, errs);
    assert_memory_equal(out, "patch ", 6);
    assert_true(patch >= 0);

    /* The disk cannot be gone while a file of it is open, and the warden says so. */
    r = ask(w, WARDEN_WIPE, 0, fds, &nfds);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.u.wiped.processes, 1);
    assert_int_equal(r.u.wiped.disk, 0);
    assert_non_null(strstr(r.detail, "still open"));
    close(patch);
}

/* The agent fills its disk to the last byte and inode: what it changed before is collected. */
static void full_disk_is_collected(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX], patch = -1;
    char out[4096], errs[4096];
    need_tree_tool(w);
    make_pack(w);
    w->task.policy.limits[LIMIT_DISK] = 8u << 20;
    strv_done(&w->task.command);
    strv_add(&w->task.command, "sh");
    strv_add(&w->task.command, "-c");
    strv_add(
        &w->task.command,
        "echo bye >greeting; dd if=/dev/zero of=/tmp/x bs=64k 2>/dev/null;"
        "cat /dev/zero >>/tmp/x; seq 9000 | xargs touch 2>/dev/null; echo z >/task/z; wc -c <z");
    start_warden(w);
    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    assert_int_equal(write_all(fds[0], w->pack.data, w->pack.len), 0);
    fd_close(&fds[0]);
    assert_int_equal(run_phase(w, WARDEN_CHECKOUT, out, errs, NULL).exit, 0);
    struct warden_reply r = run_phase(w, WARDEN_RUN, out, errs, NULL);
    assert_non_null(strstr(errs, "No space left"));
    assert_int_equal(r.u.usage.disk_peak, 8u << 20);
    r = run_phase(w, WARDEN_COLLECT, out, errs, &patch);
    if (r.exit != 0)
        fail_msg("collect: %d %s", r.exit, errs);
    assert_memory_equal(out, "patch ", 6);
    assert_true(patch >= 0);
    assert_true(lseek(patch, 0, SEEK_END) > 100);
    close(patch);
    ask_ok(w, WARDEN_WIPE, 0, fds, 0);
}

static void check_out(struct world *w)
{
    int fds[WARDEN_FDS_MAX];
    char out[4096], errs[4096];
    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    assert_int_equal(write_all(fds[0], w->pack.data, w->pack.len), 0);
    fd_close(&fds[0]);
    assert_int_equal(run_phase(w, WARDEN_CHECKOUT, out, errs, NULL).exit, 0);
}

/* The request whose descriptors the kernel does not let go. */
static void ask_unsendable(struct world *w, enum warden_op op, enum warden_phase phase)
{
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    refusal_to_send->times = 1;
    struct warden_reply r = ask(w, op, phase, fds, &nfds);
    assert_int_equal(r.op, op);
    assert_int_equal(r.status, ERR_FAIL);
    assert_int_equal(nfds, 0);
    assert_non_null(strstr(r.detail, "references"));
}

/* A reply that cannot be sent whole fails, alone: nothing of its request goes on unseen, and the
 * warden serves on. */
static void unsendable_descriptors(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    char out[4096], errs[4096];
    need_tree_tool(w);
    make_pack(w);
    strv_done(&w->task.command);
    strv_add(&w->task.command, "sh");
    strv_add(&w->task.command, "-c");
    strv_add(&w->task.command, "echo bye >greeting");
    start_warden(w);
    ask_unsendable(w, WARDEN_OPEN, 0);
    check_out(w);
    run_phase(w, WARDEN_RUN, out, errs, NULL);
    ask_ok(w, WARDEN_START, WARDEN_COLLECT, fds, 2);
    refusal_to_send->times = 1;
    read_all(&fds[0], out, sizeof out);
    read_all(&fds[1], errs, sizeof errs);
    struct warden_reply r = reply(w, fds, &nfds);
    assert_int_equal(r.op, WARDEN_EXITED);
    assert_int_equal(r.status, ERR_FAIL);
    assert_int_equal(nfds, 0);
    ask_ok(w, WARDEN_WIPE, 0, fds, 0);
    /* What did not start does not run: the next is an answer, and no end of a phase. */
    check_out(w);
    ask_unsendable(w, WARDEN_START, WARDEN_RUN);
    ask_ok(w, WARDEN_WIPE, 0, fds, 0);
}

static void wipe_says_all(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    start_warden(w);
    for (int i = 0; i < 3; i++) {
        ask_ok(w, WARDEN_OPEN, 0, fds, 1);
        fd_close(&fds[0]);
        struct warden_reply r = ask(w, WARDEN_WIPE, 0, fds, &nfds);
        assert_int_equal(r.status, 0);
        assert_true(r.u.wiped.processes && r.u.wiped.disk && r.u.wiped.cgroup && r.u.wiped.network);
    }
}

static void illegal_requests(void **state)
{
    static const enum warden_op not_free[] = {WARDEN_START, WARDEN_KILL, WARDEN_WIPE,
                                              WARDEN_EXITED};
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    start_warden(w);
    for (size_t i = 0; i < sizeof not_free / sizeof *not_free; i++)
        assert_int_equal(ask(w, not_free[i], 0, fds, &nfds).status, ERR_FAIL);
    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    fd_close(&fds[0]);
    assert_int_equal(ask(w, WARDEN_OPEN, 0, fds, &nfds).status, ERR_FAIL);
    /* A run before its checkout, and another attempt's name. */
    assert_int_equal(ask(w, WARDEN_START, WARDEN_RUN, fds, &nfds).status, ERR_FAIL);
    w->task.attempt[strlen(ID) + 1] = '2';
    assert_int_equal(ask(w, WARDEN_WIPE, 0, fds, &nfds).status, ERR_FAIL);
    w->task.attempt[strlen(ID) + 1] = '1';
}

/* A pack that is none: the checkout fails, and nothing can be run on what it left. */
static void failed_checkout(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    char out[4096], errs[4096];
    need_tree_tool(w);
    start_warden(w);
    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    assert_int_equal(write_all(fds[0], "not a pack", 10), 0);
    fd_close(&fds[0]);
    assert_true(run_phase(w, WARDEN_CHECKOUT, out, errs, NULL).exit > 0);
    assert_true(errs[0] != 0);
    assert_int_equal(ask(w, WARDEN_START, WARDEN_RUN, fds, &nfds).status, ERR_FAIL);
}

static void kill_and_die(void **state)
{
    struct world *w = *state;
    int fds[WARDEN_FDS_MAX];
    size_t nfds = 0;
    char out[4096], errs[4096];
    need_tree_tool(w);
    make_pack(w);
    strv_done(&w->task.command);
    strv_add(&w->task.command, "sh");
    strv_add(&w->task.command, "-c");
    strv_add(&w->task.command, "trap '' TERM INT; (setsid sleep 600 &) ; echo up; sleep 600");
    start_warden(w);
    ask_ok(w, WARDEN_OPEN, 0, fds, 1);
    assert_int_equal(write_all(fds[0], w->pack.data, w->pack.len), 0);
    fd_close(&fds[0]);
    assert_int_equal(run_phase(w, WARDEN_CHECKOUT, out, errs, NULL).exit, 0);
    ask_ok(w, WARDEN_START, WARDEN_RUN, fds, 3);
    assert_int_equal(read(fds[0], out, 3), 3);
    int held[WARDEN_FDS_MAX];
    ask_ok(w, WARDEN_KILL, 0, held, 0);
    struct warden_reply r = reply(w, held, &nfds);
    assert_int_equal(r.op, WARDEN_EXITED);
    assert_int_equal(r.exit, -1);
    assert_int_equal(r.signal, SIGKILL);
    /* Every writer is dead: the stream ends at once. */
    read_all(&fds[0], out, sizeof out);
    fds_close(fds + 1, 2);

    /* serve goes away in the middle: the warden destroys what is open and ends by itself. */
    fd_close(&w->sock);
    int status = -1;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    assert_int_equal(status, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(admits, world_up, world_down),
        cmocka_unit_test_setup_teardown(refuses, world_up, world_down),
        cmocka_unit_test_setup_teardown(refuses_signatures, world_up, world_down),
        cmocka_unit_test_setup_teardown(wipe_says_all, world_up, world_down),
        cmocka_unit_test_setup_teardown(illegal_requests, world_up, world_down),
        cmocka_unit_test_setup_teardown(failed_checkout, world_up, world_down),
        cmocka_unit_test_setup_teardown(whole_attempt, world_up, world_down),
        cmocka_unit_test_setup_teardown(unsendable_descriptors, world_up, world_down),
        cmocka_unit_test_setup_teardown(full_disk_is_collected, world_up, world_down),
        cmocka_unit_test_setup_teardown(kill_and_die, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
