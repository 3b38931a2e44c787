/* The jail's file tree, judged as data: what each phase would mount, and with which attributes. */
#include "tests/unit/cm.h"

#include <string.h>

#include <linux/mount.h>

#include "runner/jail_ops.h"

static const struct jail_kind plain_kind;
static const enum warden_phase phases[] = {WARDEN_CHECKOUT, WARDEN_RUN, WARDEN_COLLECT};

static const struct jail_op *find(const struct jail_op *ops, size_t n, const char *to)
{
    const struct jail_op *found = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(ops[i].to, to) == 0)
            found = &ops[i];
    return found;
}

static bool read_only(enum warden_phase phase, const char *to)
{
    struct jail_op ops[JAIL_OPS_MAX];
    const struct jail_op *op = find(ops, jail_ops_phase(phase, &plain_kind, ops), to);
    assert_non_null(op);
    return op->attr & MOUNT_ATTR_RDONLY;
}

static bool shown(enum warden_phase phase, const char *to)
{
    struct jail_op ops[JAIL_OPS_MAX];
    return find(ops, jail_ops_phase(phase, &plain_kind, ops), to) != NULL;
}

static void host_is_read_only(void **state)
{
    size_t n;
    const struct jail_op *ops = jail_ops_base(&n);
    for (size_t i = 0; i < n; i++) {
        if (ops[i].kind != JAIL_BIND && ops[i].kind != JAIL_AS_HOST)
            continue;
        assert_int_equal(ops[i].source, JAIL_HOST);
        assert_true(ops[i].attr & MOUNT_ATTR_NOSUID);
        /* Device nodes are the only thing of the host that is not read-only, and cannot be run. */
        if (strncmp(ops[i].to, "dev/", 4) == 0)
            assert_true(ops[i].attr & MOUNT_ATTR_NOEXEC);
        else
            assert_true((ops[i].attr & MOUNT_ATTR_RDONLY) && (ops[i].attr & MOUNT_ATTR_NODEV));
    }
    assert_int_equal(ops[n - 1].kind, JAIL_ATTR);
    assert_string_equal(ops[n - 1].to, "");
    assert_true(ops[n - 1].attr & MOUNT_ATTR_RDONLY);
}

static void host_paths_are_few(void **state)
{
    static const char *const secret[] = {"root",
                                         "home",
                                         "run",
                                         "var",
                                         "sys",
                                         "etc",
                                         "etc/shadow",
                                         "etc/ssh",
                                         "etc/ssl/private",
                                         "etc/machine-id",
                                         "opt",
                                         "tmp",
                                         "boot",
                                         "mnt",
                                         "srv"};
    size_t n;
    const struct jail_op *ops = jail_ops_base(&n);
    for (size_t i = 0; i < n; i++)
        if (ops[i].kind == JAIL_BIND || ops[i].kind == JAIL_AS_HOST)
            for (size_t s = 0; s < sizeof secret / sizeof *secret; s++)
                assert_string_not_equal(ops[i].from, secret[s]);
}

static void phases_bind_the_disk_only(void **state)
{
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
        struct jail_op ops[JAIL_OPS_MAX];
        size_t n = jail_ops_phase(phases[p], &plain_kind, ops);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_not_equal(ops[i].kind, JAIL_AS_HOST);
            if (ops[i].kind == JAIL_BIND) {
                assert_true(ops[i].source == JAIL_DISK || ops[i].source == JAIL_SELF);
                assert_true(ops[i].attr & MOUNT_ATTR_NOSUID);
                assert_true(ops[i].attr & MOUNT_ATTR_NODEV);
            }
        }
    }
}

static void rights_by_phase(void **state)
{
    assert_false(read_only(WARDEN_CHECKOUT, "task"));
    assert_false(read_only(WARDEN_CHECKOUT, "base.git"));
    assert_false(shown(WARDEN_CHECKOUT, "out"));

    assert_false(read_only(WARDEN_RUN, "task"));
    assert_true(read_only(WARDEN_RUN, "base.git"));
    assert_false(shown(WARDEN_RUN, "out"));

    assert_true(read_only(WARDEN_COLLECT, "task"));
    assert_true(read_only(WARDEN_COLLECT, "base.git"));
    assert_false(read_only(WARDEN_COLLECT, "out"));
    /* What the job put into its home could be read as configuration. */
    assert_false(shown(WARDEN_COLLECT, "home/agent"));
    assert_false(shown(WARDEN_COLLECT, "tmp"));
}

static void proc_is_masked(void **state)
{
    static const char *const hidden[] = {"proc/kcore", "proc/keys",       "proc/sysrq-trigger",
                                         "proc/kmsg",  "proc/timer_list", "proc/acpi",
                                         "proc/scsi",  "proc/bus",        "proc/irq",
                                         "proc/fs",    "proc/pressure"};
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
        struct jail_op ops[JAIL_OPS_MAX];
        size_t n = jail_ops_phase(phases[p], &plain_kind, ops);
        assert_int_equal(ops[0].kind, JAIL_PROC);
        assert_true(read_only(phases[p], "proc/sys"));
        for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
            const struct jail_op *op = find(ops, n, hidden[i]);
            assert_non_null(op);
            assert_int_equal(op->kind, JAIL_HIDE);
        }
    }
}

/* Landlock must not contradict the mounts: what is mounted for writing is writable, and no more. */
static void landlock_agrees(void **state)
{
    static const char *const own[] = {"/task", "/base.git", "/out", "/home/agent", "/tmp"};
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++)
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            bool listed = false;
            for (const char *const *path = jail_writable(phases[p], &plain_kind); *path; path++)
                listed |= strcmp(*path, own[i]) == 0;
            bool mounted = shown(phases[p], own[i] + 1) && !read_only(phases[p], own[i] + 1);
            assert_int_equal(listed, mounted);
        }
}

/* A sandbox inside the jail mounts a procfs of its own, which takes one that nothing covers. All else
 * is as without. */
static void nested_proc_is_whole(void **state)
{
    struct jail_op ops[JAIL_OPS_MAX], plain[JAIL_OPS_MAX];
    const struct jail_kind kind = {.nested = true};
    size_t n = jail_ops_phase(WARDEN_RUN, &kind, ops), with = 0;
    assert_int_equal(jail_ops_phase(WARDEN_COLLECT, &kind, plain),
                     jail_ops_phase(WARDEN_COLLECT, &plain_kind, plain));
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(strncmp(ops[i].to, "proc/", 5), 0);
    size_t m = jail_ops_phase(WARDEN_RUN, &plain_kind, plain);
    for (size_t i = 0; i < m; i++)
        with += strncmp(plain[i].to, "proc/", 5) == 0;
    assert_int_equal(n + with, m);
}

/* Over an image lie our own directories and files only; of the host, devices alone. */
static void image_layers(void **state)
{
    struct jail_op ops[JAIL_OPS_MAX];
    static const char *const ours[] = {"etc/passwd", "proc", "dev",  "dev/null",  "dev/pts",
                                       "task",       "tmp",  "home", "home/agent"};
    size_t n = jail_ops_layer(ops);
    for (size_t i = 0; i < n; i++)
        assert_true(ops[i].kind != JAIL_BIND && ops[i].kind != JAIL_AS_HOST);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        assert_non_null(find(ops, n, ours[i]));
    assert_string_equal(ops[n - 1].to, "");
    assert_int_equal(ops[n - 1].kind, JAIL_ATTR);
    n = jail_ops_over(ops);
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(strncmp(ops[i].from, "dev/", 4), 0);
        assert_true(ops[i].attr & MOUNT_ATTR_NOEXEC);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_is_read_only),
        cmocka_unit_test(host_paths_are_few),
        cmocka_unit_test(phases_bind_the_disk_only),
        cmocka_unit_test(rights_by_phase),
        cmocka_unit_test(proc_is_masked),
        cmocka_unit_test(landlock_agrees),
        cmocka_unit_test(nested_proc_is_whole),
        cmocka_unit_test(image_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
