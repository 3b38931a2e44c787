/* For unit tests that ask a program which is not ours (openssl, ssh-keygen) to judge our bytes: a
 * scratch directory, files in it, and a run of the program with its output kept. A missing program
 * skips the test loudly, or fails it when CREEL_MUST_WORK=1. */
#ifndef TESTS_UNIT_TOOL_H
#define TESTS_UNIT_TOOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"

struct tool {
    char dir[64];    /* scratch, removed by tool_done */
    char out[16384]; /* the last run's stdout and stderr */
};

static inline void tool_init(struct tool *t)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(t->dir, sizeof(t->dir), "%.40s/creel-test.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(t->dir));
}

static inline void tool_done(struct tool *t)
{
    struct err err = ERR_INIT;
    if (tree_remove(AT_FDCWD, t->dir, &err) != 0)
        fail_msg("%s", err.msg);
}

/* Path of a file in the scratch directory; good for the next 64 calls. */
static inline const char *tool_path(const struct tool *t, const char *name)
{
    static char paths[64][128];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof(paths[0]), "%s/%s", t->dir, name);
    return path;
}

static inline const char *tool_put(const struct tool *t, const char *name, const void *bytes,
                                   size_t n)
{
    const char *path = tool_path(t, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, bytes, n), 0);
    close(fd);
    return path;
}

/* Reads a scratch file into `to`. */
static inline void tool_get(const struct tool *t, const char *name, struct buf *to)
{
    struct err err = ERR_INIT;
    if (file_read(AT_FDCWD, tool_path(t, name), to, &err) != 0)
        fail_msg("%s", err.msg);
}

static inline void tool_child(const char *const *argv, const char *in, const char *out)
{
    int i = open(in, O_RDONLY | O_CLOEXEC);
    int o = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (i < 0 || o < 0 || dup2(i, 0) < 0 || dup2(o, 1) < 0 || dup2(o, 2) < 0)
        _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Runs argv with the file `in` (NULL: nothing) as its input. Returns its exit status. */
static inline int tool_run(struct tool *t, const char *in, const char *const *argv)
{
    const char *out = tool_path(t, "out");
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        tool_child(argv, in ? in : "/dev/null", out);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    struct buf text;
    buf_init(&text, sizeof(t->out) - 1);
    tool_get(t, "out", &text);
    memcpy(t->out, text.data, text.len + 1);
    buf_done(&text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define TOOL_RUN(t, in, ...) tool_run((t), (in), (const char *const[]){__VA_ARGS__, NULL})

/* Ends the test as skipped when `program` is not there. */
static inline void tool_need(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        size_t n = strcspn(p, ":");
        char full[512];
        snprintf(full, sizeof(full), "%.*s/%s", (int)n, p, program);
        if (access(full, X_OK) == 0)
            return;
        p += n + (p[n] == ':');
    }
    const char *must = getenv("CREEL_MUST_WORK");
    if (must && strcmp(must, "1") == 0)
        fail_msg("%s is not installed, and CREEL_MUST_WORK=1", program);
    print_message("SKIP: %s is not installed: nothing that is not ours judged these bytes\n",
                  program);
    skip();
}

#endif
