/* Where the state directory is looked for, and which ones are refused. */
#include "tests/unit/tool.h"

#include <limits.h>
#include <sys/stat.h>

#include "controller/paths.h"
#include "tests/unit/cm.h"
#include "tests/unit/doc_samples.h"

static struct err err;

static void chosen_by_flag_then_environment(void **state)
{
    struct tool t;
    struct paths p;
    char want[PATH_MAX + 64];

    (void)state;
    tool_init(&t);
    setenv("HOME", tool_path(&t, "home"), 1);
    unsetenv("XDG_STATE_HOME");
    unsetenv("CREEL_STATE");
    assert_says(paths_open(NULL, false, &p, &err), "run 'creel init'");
    assert_int_equal(err.code, ERR_USAGE);
    assert_ok(paths_open(NULL, true, &p, &err));
    snprintf(want, sizeof(want), "%s/.local/state/creel", tool_path(&t, "home"));
    assert_string_equal(p.root, want);
    paths_close(&p);
    setenv("XDG_STATE_HOME", "relative", 1); /* to be ignored, says the specification */
    assert_ok(paths_open(NULL, false, &p, &err));
    assert_string_equal(p.root, want);
    paths_close(&p);
    setenv("XDG_STATE_HOME", tool_path(&t, "xdg"), 1);
    assert_ok(paths_open(NULL, true, &p, &err));
    snprintf(want, sizeof(want), "%s/creel", tool_path(&t, "xdg"));
    assert_string_equal(p.root, want);
    paths_close(&p);
    setenv("CREEL_STATE", tool_path(&t, "env"), 1);
    assert_ok(paths_open(NULL, true, &p, &err));
    assert_string_equal(p.root, tool_path(&t, "env"));
    paths_close(&p);
    assert_ok(paths_open(tool_path(&t, "flag"), true, &p, &err));
    assert_string_equal(p.root, tool_path(&t, "flag"));
    paths_close(&p);
    tool_done(&t);
}

static void made_private_and_refused_when_open(void **state)
{
    struct tool t;
    struct paths p;
    struct stat st;

    (void)state;
    tool_init(&t);
    umask(0);
    assert_ok(paths_open(tool_path(&t, "s"), true, &p, &err));
    assert_int_equal(fstat(p.rootfd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    paths_close(&p);
    assert_int_equal(p.rootfd, -1);
    assert_int_equal(chmod(tool_path(&t, "s"), 0750), 0);
    assert_true(paths_open(tool_path(&t, "s"), true, &p, &err) < 0);
    assert_true(paths_open(tool_path(&t, "s"), false, &p, &err) < 0);
    tool_put(&t, "file", "x", 1);
    assert_true(paths_open(tool_path(&t, "file"), true, &p, &err) < 0);
    tool_done(&t);
}

static void names_of_tasks_are_checked(void **state)
{
    static const char *const bad[] = {"", "..", "../keys", "last", "01JDQ7Z4M2R8K5T3W9X1Y6B0CN"};
    char out[PATH_MAX], want[PATH_MAX + 64];
    struct tool t;
    struct paths p;
    int fd;

    (void)state;
    tool_init(&t);
    assert_ok(paths_open(tool_path(&t, "s"), true, &p, &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(paths_task(&p, bad[i], "log", out, &err), -ERR_USAGE);
        assert_int_equal(paths_task_dir(&p, bad[i], true, &err), -ERR_USAGE);
    }
    assert_ok(paths_task(&p, SAMPLE_ID, "log", out, &err));
    snprintf(want, sizeof(want), "%s/tasks/" SAMPLE_ID "/log", p.root);
    assert_string_equal(out, want);
    assert_ok(paths_task(&p, SAMPLE_ID, "", out, &err));
    snprintf(want, sizeof(want), "%s/tasks/" SAMPLE_ID, p.root);
    assert_string_equal(out, want);
    assert_true(paths_task_dir(&p, SAMPLE_ID, false, &err) < 0);
    fd = paths_task_dir(&p, SAMPLE_ID, true, &err);
    assert_true(fd >= 0);
    fd_close(&fd);
    fd = paths_task_dir(&p, SAMPLE_ID, false, &err);
    assert_true(fd >= 0);
    fd_close(&fd);
    /* A link in a task's place is not followed. */
    assert_int_equal(rmdir(out), 0);
    assert_int_equal(symlink("/", out), 0);
    assert_true(paths_task_dir(&p, SAMPLE_ID, false, &err) < 0);
    assert_true(paths_task_dir(&p, SAMPLE_ID, true, &err) < 0);
    paths_close(&p);
    tool_done(&t);
}

static void keys_may_be_elsewhere(void **state)
{
    char out[PATH_MAX], want[PATH_MAX + 64];
    struct tool t;
    struct paths p;

    (void)state;
    tool_init(&t);
    assert_ok(paths_open(tool_path(&t, "s"), true, &p, &err));
    assert_int_equal(mkdirat(p.rootfd, "keys", 0700), 0);
    assert_ok(paths_signing_key(&p, out, &err));
    snprintf(want, sizeof(want), "%s/keys/signing_key", p.root);
    assert_string_equal(out, want);
    assert_ok(file_replace(p.rootfd, "keys/ssh_key.path", "/home/o/id", 10, 0600, &err));
    assert_ok(paths_ssh_key(&p, out, &err));
    assert_string_equal(out, "/home/o/id");
    assert_ok(file_replace(p.rootfd, "keys/ssh_key.path", "id", 2, 0600, &err));
    assert_says(paths_ssh_key(&p, out, &err), "absolute");
    assert_ok(file_replace(p.rootfd, "keys/ssh_key.path", "/a\0b", 4, 0600, &err));
    assert_true(paths_ssh_key(&p, out, &err) < 0);
    paths_close(&p);
    tool_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chosen_by_flag_then_environment),
        cmocka_unit_test(made_private_and_refused_when_open),
        cmocka_unit_test(names_of_tasks_are_checked),
        cmocka_unit_test(keys_may_be_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
