/* Spare cells: bound to a task they are like new ones, they are used once, and whatever happens to them
 * costs nobody an attempt. */
#include "tests/unit/jail_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "runner/gate.h"
#include "runner/pool.h"

struct pool_world {
    struct jail_fixture *f;
    struct warden_setup setup;
    struct warden w;
};

static int pool_up(void **state)
{
    struct pool_world *p = calloc(1, sizeof *p);
    struct err err = ERR_INIT;
    assert_non_null(p);
    assert_int_equal(fixture_up((void **)&p->f), 0);
    assert_ok(seccomp_compile(&p->w.filter, &err));
    p->setup = (struct warden_setup){.tool = -1, .slots = 1};
    p->w.setup = &p->setup;
    p->w.cgroups.dir = p->w.disks.dir = -1;
    p->w.rooted = geteuid() == 0;
    p->w.slots[0].cell = CELL_NONE;
    policy_init(&p->w.no_task.policy);
    *state = p;
    return 0;
}

static int pool_down(void **state)
{
    struct pool_world *p = *state;
    cell_close(&p->w.slots[0].cell);
    seccomp_done(&p->w.filter);
    fixture_down((void **)&p->f);
    free(p);
    return 0;
}

/* The processes that the keeper has started: the prepared jails' first ones. */
static size_t children(pid_t keeper, pid_t *out, size_t most)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    size_t n = 0;
    fd_close(&fd);
    for (char *at = text, *end; len > 0 && n < most; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        out[n++] = (pid_t)pid;
    }
    return n;
}

static bool waits(pid_t pid)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strcmp(text, "creel-init\n") == 0;
    fd_close(&fd);
    return is;
}

/* A spare with both jails built; their first processes. */
static pid_t make_spare(struct pool_world *p, pid_t jails[static 2])
{
    struct slot *slot = pool_wants(&p->w);
    assert_ptr_equal(slot, &p->w.slots[0]);
    pool_fill(&p->w, slot);
    assert_true(pool_spare(slot));
    assert_null(pool_wants(&p->w));
    pool_heard(slot);
    assert_true(slot->cell.ready);
    while (children(slot->cell.pid, jails, 2) < 2 || !waits(jails[0]) || !waits(jails[1]))
        poll(NULL, 0, 1);
    return slot->cell.pid;
}

static void need(struct pool_world *p)
{
    if (!p->f->usable)
        skip();
}

/* Gives the slot the fixture's task; its command is that script. */
static pid_t take(struct pool_world *p, const char *script)
{
    struct err err = ERR_INIT;
    struct slot *slot = &p->w.slots[0];
    int pack = -1;
    strv_done(&p->f->task.command);
    strv_add(&p->f->task.command, "sh");
    strv_add(&p->f->task.command, "-c");
    strv_add(&p->f->task.command, script);
    assert_ok(pool_open(&p->w, slot, &p->f->task, p->f->token, &pack, &err));
    fd_close(&pack);
    slot->state = SLOT_READY;
    return slot->cell.pid;
}

static void run(struct pool_world *p, struct ran *r, uint16_t *ports, size_t nports)
{
    struct err err = ERR_INIT;
    int fds[FDPASS_MAX] = {0};
    size_t nfds = 0;
    *r = (struct ran){0};
    buf_init(&r->out, FIXTURE_OUTPUT_MAX);
    buf_init(&r->err, FIXTURE_OUTPUT_MAX);
    assert_ok(cell_start(&p->w.slots[0].cell, WARDEN_RUN, fds, &nfds, &err));
    assert_int_equal(nfds, JAIL_PIPES + GATE_PORTS + nports);
    for (size_t i = 0; i < nports; i++) {
        struct sockaddr_in at = {0};
        socklen_t len = sizeof at;
        assert_int_equal(
            getsockname(fds[JAIL_PIPES + GATE_PORTS + i], (struct sockaddr *)&at, &len), 0);
        ports[i] = ntohs(at.sin_port);
    }
    fixture_drain(fds, nfds, r);
    assert_ok(cell_ended(&p->w.slots[0].cell, &r->end, &err));
}

static void runs(struct pool_world *p, const char *out)
{
    struct ran r;
    uint16_t ports[2];
    run(p, &r, ports, 2);
    if (strcmp(buf_str(&r.out), out) != 0)
        fail_msg("\"%s\" (%s), not \"%s\"", buf_str(&r.out), buf_str(&r.err), out);
    ran_done(&r);
}

/* Everything that was not known when the spare was made is the task's. */
static void bound(void **state)
{
    struct pool_world *p = *state;
    struct ran r;
    pid_t jails[2];
    uint16_t ports[4] = {0};
    need(p);
    pid_t spare = make_spare(p, jails);
    p->f->task.policy.limits[LIMIT_DISK] = 8u << 20;
    p->f->task.policy.limits[LIMIT_PIDS] = 77;
    strv_add(&p->f->task.policy.egress, "example.org:22");
    strv_add(&p->f->task.policy.egress, "example.org:8443");
    strv_add(&p->f->task.tests, "echo tested");
    assert_int_equal(take(p, "stat -f -c %b /tmp; ulimit -p; ulimit -f; echo $CREEL_TASK_ID;"
                             "echo $CREEL_TASK_TOKEN | cut -c 1-8"),
                     spare);
    run(p, &r, ports, 4);
    assert_string_equal(buf_str(&r.out),
                        "2048\n77\n16392\n01jdq7z4m2r8k5t3w9x1y6b0cn\na5a5a5a5\ntested\n");
    const uint16_t due[] = {22, 80, 443, 8443};
    assert_memory_equal(ports, due, sizeof due);
    r.wiped = cell_close(&p->w.slots[0].cell);
    assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup && r.wiped.network);
    ran_done(&r);
    /* Once: the next is another. */
    p->w.slots[0].state = SLOT_FREE;
    assert_ptr_equal(pool_wants(&p->w), &p->w.slots[0]);
}

static void without_a_task(void **state)
{
    struct pool_world *p = *state;
    struct err err = ERR_INIT;
    pid_t jails[2];
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    need(p);
    make_spare(p, jails);
    assert_says(cell_start(&p->w.slots[0].cell, WARDEN_RUN, fds, &nfds, &err), "no task");
}

static void misfits(void **state)
{
    struct pool_world *p = *state;
    struct policy *policy = &p->f->task.policy;
    pid_t jails[2];
    need(p);
    pid_t spare = make_spare(p, jails);
    policy->nested_userns = true;
    assert_true(take(p, "echo new") != spare);
    assert_true(kill(spare, 0) < 0 && errno == ESRCH);
    runs(p, "new\n");
}

/* The kernel may kill any process when memory runs out. */
static void dead_jails(void **state)
{
    struct pool_world *p = *state;
    pid_t jails[2];
    need(p);
    pid_t spare = make_spare(p, jails);
    assert_int_equal(kill(jails[0], SIGKILL) | kill(jails[1], SIGKILL), 0);
    while (kill(jails[0], 0) == 0 || kill(jails[1], 0) == 0)
        poll(NULL, 0, 1);
    assert_int_equal(take(p, "echo made again"), spare);
    runs(p, "made again\n");
}

static void dead_keeper(void **state)
{
    struct pool_world *p = *state;
    pid_t jails[2];
    need(p);
    struct slot *slot = &p->w.slots[0];
    pid_t spare = make_spare(p, jails);
    kill(spare, SIGKILL);
    struct pollfd gone = {.fd = slot->cell.ctl, .events = POLLIN};
    assert_int_equal(poll(&gone, 1, 60000), 1);
    pool_heard(slot);
    assert_false(pool_spare(slot));
    /* Not again and again: whatever kills them must not keep the warden busy. */
    assert_null(pool_wants(&p->w));
    take(p, "echo new");
    runs(p, "new\n");
    cell_close(&slot->cell);
    slot->state = SLOT_FREE;
    assert_ptr_equal(pool_wants(&p->w), slot);
}

/* Dead, and nobody has noticed yet. */
static void dead_keeper_unseen(void **state)
{
    struct pool_world *p = *state;
    pid_t jails[2];
    need(p);
    pid_t spare = make_spare(p, jails);
    kill(spare, SIGKILL);
    struct pollfd gone = {.fd = p->w.slots[0].cell.pidfd, .events = POLLIN};
    assert_int_equal(poll(&gone, 1, 60000), 1);
    assert_true(take(p, "echo new") != spare);
    runs(p, "new\n");
}

/* What a spare of another slot holds is given up for a task. Descriptors stand for the room of disks. */
static void gives_way(void **state)
{
    struct pool_world *p = *state;
    struct slot *other = &p->w.slots[1];
    struct rlimit usual, few;
    int fillers[200];
    size_t n = 0;
    need(p);
    other->cell = CELL_NONE;
    p->setup.slots = 2;
    pool_fill(&p->w, other);
    assert_true(pool_spare(other));
    pool_heard(other);
    assert_true(other->cell.ready);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = usual;
    few.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((fillers[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    take(p, "echo there is room");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    fds_close(fillers, n);
    assert_false(pool_spare(other));
    runs(p, "there is room\n");
}

/* As memory running out on the host may do it. That nothing is left is as true as ever. */
static void dead_keeper_in_a_phase(void **state)
{
    struct pool_world *p = *state;
    struct err err = ERR_INIT;
    struct cell *cell = &p->w.slots[0].cell;
    struct cell_end end;
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    need(p);
    pid_t keeper = take(p, "sleep 1000");
    assert_ok(cell_start(cell, WARDEN_RUN, fds, &nfds, &err));
    fds_close(fds, nfds);
    kill(keeper, SIGKILL);
    assert_says(cell_ended(cell, &end, &err), "keeper");
    struct warden_wiped wiped = cell_close(cell);
    assert_true(wiped.processes && wiped.network && wiped.disk && wiped.cgroup);
}

/* What the keeper answers is not what was asked: whether a job runs by now is not known, so none may. */
static void keeper_without_words(void **state)
{
    struct pool_world *p = *state;
    struct err err = ERR_INIT;
    struct cell *cell = &p->w.slots[0].cell;
    struct cell_msg wrong = {.op = CELL_READY};
    int fds[FDPASS_MAX], other[2];
    size_t nfds = 0;
    need(p);
    pid_t keeper = take(p, "sleep 1000");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, other), 0);
    int real = cell->ctl; /* open on, so that the keeper lives until it is killed */
    cell->ctl = other[0];
    assert_ok(fdpass_send(other[1], &wrong, sizeof wrong, NULL, 0, &err));
    assert_says(cell_start(cell, WARDEN_RUN, fds, &nfds, &err), "out of turn");
    assert_true(kill(keeper, 0) < 0 && errno == ESRCH);
    struct warden_wiped wiped = cell_close(cell);
    assert_true(wiped.processes && wiped.network && wiped.disk && wiped.cgroup);
    fd_close(&real);
    fd_close(&other[1]);
}

/* A spare outlives its warden as little as an attempt does. */
static void dies_with_its_maker(void **state)
{
    struct pool_world *p = *state;
    pid_t jails[2], spare = 0;
    int ends[2], status;
    char byte;
    need(p);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t maker = fork();
    if (maker == 0) {
        spare = make_spare(p, jails);
        _exit(write(ends[1], &spare, sizeof spare) != sizeof spare);
    }
    fd_close(&ends[1]);
    assert_int_equal(read(ends[0], &spare, sizeof spare), sizeof spare);
    assert_int_equal(waitpid(maker, &status, 0), maker);
    assert_int_equal(status, 0);
    while (kill(spare, 0) == 0)
        poll(NULL, 0, 1);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    fd_close(&ends[0]);
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, pool_up, pool_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        POOL_TEST(bound),
        POOL_TEST(without_a_task),
        POOL_TEST(misfits),
        POOL_TEST(dead_jails),
        POOL_TEST(dead_keeper),
        POOL_TEST(dead_keeper_unseen),
        POOL_TEST(gives_way),
        POOL_TEST(dead_keeper_in_a_phase),
        POOL_TEST(keeper_without_words),
        POOL_TEST(dies_with_its_maker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
