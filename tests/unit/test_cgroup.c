/* cgroup v2: reading where we are, and, where this machine lets us, limits that really bind. */
#include "tests/unit/jail_fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "runner/cgroup.h"

/* A kernel without cgroup.kill, on demand: libc's openat is replaced in this program. */
static bool no_cgroup_kill;

int openat64(int dir, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (no_cgroup_kill && strcmp(path, "cgroup.kill") == 0) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static void own_path(void **state)
{
    char out[CGROUP_PATH_MAX];
    assert_int_equal(cgroup_parse_own("0::/system.slice/creel.service\n", out), 0);
    assert_string_equal(out, "/system.slice/creel.service");
    assert_int_equal(cgroup_parse_own("9:name=systemd:/a\n4:memory:/b\n0::/\n", out), 0);
    assert_string_equal(out, "/");
    assert_int_equal(cgroup_parse_own("4:memory:/b\n", out), -1);
    assert_int_equal(cgroup_parse_own("", out), -1);
    assert_int_equal(cgroup_parse_own("0::\n", out), -1);
    assert_int_equal(cgroup_parse_own("0::/../outside\n", out), -1);
    assert_int_equal(cgroup_parse_own("10::/x\n", out), -1);
}

static void mount_point(void **state)
{
    static const char info[] =
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    static const char part[] = "41 31 0:38 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    char out[CGROUP_PATH_MAX];
    assert_int_equal(cgroup_parse_mount(info, "/x/y", out), 0);
    assert_string_equal(out, "/sys/fs/cgroup/unified/x/y");
    assert_int_equal(cgroup_parse_mount(info, "/", out), 0);
    assert_string_equal(out, "/sys/fs/cgroup/unified");
    assert_int_equal(cgroup_parse_mount(part, "/a/b/c", out), 0);
    assert_string_equal(out, "/sys/fs/cgroup/c");
    /* Our cgroup is not below what the mount shows. */
    assert_int_equal(cgroup_parse_mount(part, "/a/bc", out), -1);
    assert_int_equal(cgroup_parse_mount(part, "/", out), -1);
    assert_int_equal(cgroup_parse_mount("", "/", out), -1);
    assert_int_equal(cgroup_parse_mount("garbage\n - cgroup2\n", "/", out), -1);
}

/* Moves this test into OWN/supervisor: only where the subtree is ours to use. */
static bool take_tree(struct jail_fixture *f)
{
    const char *must = getenv("CREEL_MUST_WORK_CGROUP");
    cgroup_tree_open(&f->cgroups, 0);
    if (f->usable && f->cgroups.dir >= 0)
        return true;
    print_message("SKIP: %s\n", f->usable ? f->cgroups.why : "no jail can be made here");
    if (must)
        fail_msg("CREEL_MUST_WORK_CGROUP is set");
    return false;
}

static void memory(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    if (!take_tree(f))
        skip();
    f->task.policy.limits[LIMIT_MEM] = 48u << 20;
    strv_add(&f->task.tests, "echo survived");
    /* A group kill takes all of the jail, its first process included. */
    fixture_sh(f, "sleep 600 & python3 -c 'x=bytearray(200<<20)'; echo not killed", &r);
    assert_string_equal(buf_str(&r.out), "");
    assert_int_equal(r.end.signal, SIGKILL);
    assert_int_equal(r.end.usage.oom_kills, 1);
    assert_true(r.end.usage.mem_peak <= 48u << 20);
    assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup && r.wiped.network);
    ran_done(&r);
}

/* Files of the attempt count as memory and outlive the out-of-memory kill: what comes after the job
 * has room all the same. The program of the collect phase stands for the tree tool. */
static void memory_for_collect(void **state)
{
    struct jail_fixture *f = *state;
    struct err err = ERR_INIT;
    struct cell cell;
    struct ran r = {0};
    int pack = -1, fds[FDPASS_MAX];
    size_t nfds = 0;
    char max[32] = "";
    if (!take_tree(f))
        skip();
    f->task.policy.limits[LIMIT_MEM] = 48u << 20;
    f->task.policy.limits[LIMIT_DISK] = 256u << 20;
    f->setup.tool = open("/usr/bin/git", O_PATH | O_CLOEXEC);
    assert_true(f->setup.tool >= 0);
    strv_add(&f->task.command, "sh");
    strv_add(&f->task.command, "-c");
    strv_add(&f->task.command, "cat /dev/zero >/tmp/x");
    buf_init(&r.out, FIXTURE_OUTPUT_MAX);
    buf_init(&r.err, FIXTURE_OUTPUT_MAX);
    assert_ok(cell_open(&f->setup, &cell, &pack, &err));
    fd_close(&pack);
    assert_ok(cell_start(&cell, WARDEN_RUN, fds, &nfds, &err));
    fixture_drain(fds, nfds, &r);
    assert_ok(cell_ended(&cell, &r.end, &err));
    assert_int_equal(r.end.signal, SIGKILL);
    assert_int_equal(r.end.usage.oom_kills, 1);
    /* Not killed: git says that there is no command "collect". */
    assert_ok(cell_start(&cell, WARDEN_COLLECT, fds, &nfds, &err));
    /* At least: what files can be there, as much for the tool, and the patch. */
    int fd = openat(f->cgroups.dir, "attempt-0/tool/memory.max", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, max, sizeof max - 1) > 0);
    close(fd);
    assert_true(strtoull(max, NULL, 10) >= (2 * 48 + 256) << 20);
    fixture_drain(fds, nfds, &r);
    assert_ok(cell_ended(&cell, &r.end, &err));
    assert_int_equal(r.end.signal, 0);
    assert_int_equal(r.end.exit, 1);
    assert_int_equal(r.end.usage.oom_kills, 0);
    assert_non_null(strstr(buf_str(&r.err), "collect"));
    fd_close(&f->setup.tool);
    r.wiped = cell_close(&cell);
    assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup);
    ran_done(&r);
}

static void pids(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    if (!take_tree(f))
        skip();
    f->task.policy.limits[LIMIT_PIDS] = 30;
    fixture_run(f, (const char *const[]){"bash", "-c", ":(){ :|:& };:; sleep 1", NULL}, &r);
    assert_true(r.end.usage.pids_hits > 0);
    assert_int_equal(faccessat(f->cgroups.dir, "attempt-0", F_OK, 0), -1);
    assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup && r.wiped.network);
    ran_done(&r);
}

static void cpu(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    if (!take_tree(f))
        skip();
    f->task.policy.limits[LIMIT_CPU] = 200;
    fixture_sh(f, "timeout 3 sh -c 'while :; do :; done'", &r);
    /* A fifth of a processor for three seconds, and some to start up on a slow machine. */
    assert_true(r.end.usage.cpu_ms > 100);
    assert_true(r.end.usage.cpu_ms * 100 / r.end.usage.wall_ms <= 25);
    ran_done(&r);
}

/* Never all at once on a list: each forks on until it dies. */
static void __attribute__((noreturn)) breed(void)
{
    for (;;) {
        signal(SIGCHLD, SIG_IGN);
        if (fork() < 0)
            poll(NULL, 0, 1);
    }
}

static void old_kernel(void **state)
{
    struct jail_fixture *f = *state;
    struct err err = ERR_INIT;
    struct cgroup c;
    if (!take_tree(f))
        skip();
    f->task.policy.limits[LIMIT_PIDS] = 60;
    assert_ok(cgroup_open(&f->cgroups, 0, f->task.policy.limits, geteuid(), &c, &err));
    pid_t pid = fork();
    if (pid == 0) {
        int fd = openat(c.jail[CGROUP_RUN], "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            _exit(1);
        breed();
    }
    while (cgroup_empty(&c, CGROUP_RUN, 0))
        poll(NULL, 0, 1);
    poll(NULL, 0, 50);
    no_cgroup_kill = true;
    cgroup_kill(&c, CGROUP_RUN);
    no_cgroup_kill = false;
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(cgroup_empty(&c, CGROUP_RUN, 10000));
    assert_true(cgroup_remove(&c));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_path),
        cmocka_unit_test(mount_point),
        cmocka_unit_test_setup_teardown(memory, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(memory_for_collect, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(pids, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(cpu, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(old_kernel, fixture_up, fixture_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
