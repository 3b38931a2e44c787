/* Files: ceilings, kinds, atomic replacement, and the removal of trees made to be hard to remove. */
#include "tests/unit/tool.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct err err;

static int scratch(const struct tool *t)
{
    int fd = dir_open(t->dir, false, true, &err);
    assert_true(fd >= 0);
    return fd;
}

static void replace_then_read(void **state)
{
    struct tool t;
    struct buf b;
    struct stat st;
    tool_init(&t);
    int d = scratch(&t);
    umask(077);
    assert_int_equal(file_replace(d, "f", "first", 5, 0600, &err), 0);
    assert_int_equal(file_replace(d, "f", "second!", 7, 0644, &err), 0);
    assert_int_equal(fstatat(d, "f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    buf_init(&b, 7);
    assert_int_equal(file_read(d, "f", &b, &err), 0);
    assert_string_equal(buf_str(&b), "second!");
    buf_done(&b);
    /* One byte over the ceiling: refused, and what was there before stays alone. */
    buf_init(&b, 8);
    buf_adds(&b, "ab");
    assert_int_equal(file_read(d, "f", &b, &err), -ERR_FAIL);
    assert_non_null(strstr(err.msg, "over 8 bytes"));
    assert_string_equal(buf_str(&b), "ab");
    buf_done(&b);
    /* In a subdirectory; and no temporary file is left by any of it. */
    assert_int_equal(mkdirat(d, "sub", 0700), 0);
    assert_int_equal(file_replace(d, "sub/g", "", 0, 0600, &err), 0);
    buf_init(&b, 8);
    assert_int_equal(file_read(d, "sub/g", &b, &err), 0);
    assert_int_equal(b.len, 0);
    buf_done(&b);
    assert_int_equal(file_replace(d, "none/g", "x", 1, 0600, &err), -ERR_FAIL);
    assert_int_equal(file_replace(d, "sub", "x", 1, 0600, &err), -ERR_FAIL); /* a directory */
    assert_int_equal(TOOL_RUN(&t, NULL, "ls", t.dir), 0);
    assert_null(strstr(t.out, ".tmp."));
    close(d);
    tool_done(&t);
}

static void only_regular_files_are_read(void **state)
{
    struct tool t;
    struct buf b;
    tool_init(&t);
    int d = scratch(&t);
    buf_init(&b, 1 << 20);
    assert_int_equal(file_replace(d, "f", "x", 1, 0600, &err), 0);
    assert_int_equal(symlinkat("f", d, "link"), 0);
    assert_int_equal(mkfifoat(d, "fifo", 0600), 0);
    assert_int_equal(file_read(d, "link", &b, &err), -ERR_FAIL);
    assert_int_equal(file_read(d, "fifo", &b, &err),
                     -ERR_FAIL); /* and does not wait for a writer */
    assert_int_equal(file_read(d, ".", &b, &err), -ERR_FAIL);
    assert_int_equal(file_read(d, "absent", &b, &err), -ERR_FAIL);
    assert_int_equal(file_read(AT_FDCWD, "/dev/zero", &b, &err), -ERR_FAIL);
    assert_int_equal(b.len, 0);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", &b, &err), 0); /* tells no size */
    assert_true(b.len > 100);
    buf_done(&b);
    close(d);
    tool_done(&t);
}

static void directories(void **state)
{
    struct tool t;
    struct stat st;
    tool_init(&t);
    const char *deep = tool_path(&t, "a/b//c/");
    assert_int_equal(dir_make(deep, &err), 0);
    assert_int_equal(dir_make(deep, &err), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    int fd = dir_open(tool_path(&t, "new"), true, true, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    fd_close(&fd);
    assert_int_equal(fd, -1);
    fd_close(&fd);
    assert_int_equal(chmod(tool_path(&t, "new"), 0750), 0);
    assert_int_equal(dir_open(tool_path(&t, "new"), false, true, &err), -ERR_TRUST);
    assert_non_null(strstr(err.msg, "chmod 700"));
    fd = dir_open(tool_path(&t, "new"), false, false, &err);
    assert_true(fd >= 0);
    fd_close(&fd);
    assert_int_equal(symlink("new", tool_path(&t, "link")), 0);
    assert_int_equal(dir_open(tool_path(&t, "link"), false, false, &err), -ERR_FAIL);
    assert_int_equal(dir_open(tool_path(&t, "absent"), false, false, &err), -ERR_FAIL);
    tool_put(&t, "file", "", 0);
    assert_int_equal(dir_make(tool_path(&t, "file/x"), &err), -ERR_FAIL);
    assert_int_equal(dir_make("", &err), -ERR_FAIL);
    tool_done(&t);
}

static void write_all_tells_of_failure(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

/* A chain of directories 20,000 deep: no path reaches its end, no descriptor table holds it (100,000
 * took 3 s when tried by hand). */
static void a_tree_of_any_depth_goes(void **state)
{
    struct tool t;
    tool_init(&t);
    int d = scratch(&t), at = dup(d);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(mkdirat(at, "d", 0700), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    int f = openat(at, "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f >= 0);
    close(f);
    close(at);
    struct rlimit few, old;
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = 32;
    setrlimit(RLIMIT_NOFILE, &few);
    int r = tree_remove(d, "d", &err);
    setrlimit(RLIMIT_NOFILE, &old);
    if (r != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(faccessat(d, "d", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    close(d);
    tool_done(&t);
}

static void links_are_removed_not_followed(void **state)
{
    struct tool t;
    struct buf b;
    tool_init(&t);
    int d = scratch(&t);
    assert_int_equal(mkdirat(d, "keep", 0700), 0);
    assert_int_equal(file_replace(d, "keep/precious", "x", 1, 0600, &err), 0);
    assert_int_equal(mkdirat(d, "tree", 0700), 0);
    assert_int_equal(mkdirat(d, "tree/sub", 0700), 0);
    assert_int_equal(symlinkat("../keep", d, "tree/up"), 0);
    assert_int_equal(symlinkat("../../keep", d, "tree/sub/up"), 0);
    assert_int_equal(symlinkat(t.dir, d, "tree/sub/abs"), 0);
    assert_int_equal(symlinkat("keep", d, "root"), 0);
    assert_int_equal(mkfifoat(d, "tree/fifo", 0), 0);
    assert_int_equal(tree_remove(d, "tree", &err), 0);
    assert_int_equal(tree_remove(d, "root", &err), 0); /* a link in the tree's own place */
    assert_int_equal(tree_remove(d, "root", &err), 0); /* absent is success */
    buf_init(&b, 8);
    assert_int_equal(file_read(d, "keep/precious", &b, &err), 0);
    buf_done(&b);
    assert_int_equal(tree_remove(d, "keep/precious", &err), 0); /* a file */
    close(d);
    tool_done(&t);
}

/* As someone who is not root, where modes hold: in a child, since becoming nobody cannot be undone. */
static int remove_locked_as_nobody(int d)
{
    if (geteuid() == 0 &&
        (fchown(d, 65534, 65534) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
        return 10;
    if (mkdirat(d, "tree", 0700) != 0 || mkdirat(d, "tree/a", 0700) != 0 ||
        mkdirat(d, "tree/a/b", 0700) != 0 || mkdirat(d, "tree/a/b/c", 0700) != 0)
        return 11;
    if (fchmodat(d, "tree/a/b/c", 0, 0) != 0 || fchmodat(d, "tree/a/b", 0100, 0) != 0 ||
        fchmodat(d, "tree/a", 0500, 0) != 0 || fchmodat(d, "tree", 0, 0) != 0)
        return 12;
    return tree_remove(d, "tree", &err) == 0 ? 0 : 13;
}

static void modes_do_not_hold_it_up(void **state)
{
    struct tool t;
    tool_init(&t);
    int d = scratch(&t), status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(remove_locked_as_nobody(d));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    close(d);
    tool_done(&t);
}

/* Wide, and full of names that a remover could trip over. */
static void wide_trees_and_odd_names(void **state)
{
    static const char *const odd[] = {"-rf",      " ",   "*",       "\x1b[2J",
                                      "\xff\xfe", "...", ".rm-0-0", "a\nb"};
    struct tool t;
    tool_init(&t);
    int d = scratch(&t);
    assert_int_equal(mkdirat(d, "tree", 0700), 0);
    int top = openat(d, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        assert_int_equal(mkdirat(top, odd[i], 0700), 0);
    for (int i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "d%d", i);
        assert_int_equal(mkdirat(top, name, 0700), 0);
        snprintf(name, sizeof(name), "d%d/s", i);
        assert_int_equal(mkdirat(top, name, 0700), 0);
        snprintf(name, sizeof(name), "d%d/s/f", i);
        assert_int_equal(symlinkat("/", top, name), 0);
    }
    close(top);
    if (tree_remove(d, "tree", &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(faccessat(d, "tree", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    close(d);
    tool_done(&t);
}

static void files_are_raised_as_far_as_allowed(void **state)
{
    struct rlimit was, now;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){100, was.rlim_max}), 0);
    assert_int_equal(files_raise(90), 100);
    assert_int_equal(files_raise(200), was.rlim_max < 200 ? was.rlim_max : 200);
    assert_int_equal(files_raise(was.rlim_max), was.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(now.rlim_cur, was.rlim_max);
    assert_int_equal(now.rlim_max, was.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replace_then_read),
        cmocka_unit_test(only_regular_files_are_read),
        cmocka_unit_test(directories),
        cmocka_unit_test(write_all_tells_of_failure),
        cmocka_unit_test(a_tree_of_any_depth_goes),
        cmocka_unit_test(links_are_removed_not_followed),
        cmocka_unit_test(modes_do_not_hold_it_up),
        cmocka_unit_test(wide_trees_and_odd_names),
        cmocka_unit_test(files_are_raised_as_far_as_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
