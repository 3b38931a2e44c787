/* What a confined process can still do, tried from inside. */
#include "controller/confine.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/unit/cm.h"
#include "tests/unit/tool.h"

struct bed {
    struct tool t;
    char in[96], out[96], file[96];
};

static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    tool_init(&b->t);
    snprintf(b->in, sizeof(b->in), "%s/in", b->t.dir);
    snprintf(b->out, sizeof(b->out), "%s/out.d", b->t.dir);
    snprintf(b->file, sizeof(b->file), "%s/one", b->t.dir);
    assert_int_equal(mkdir(b->in, 0700), 0);
    assert_int_equal(mkdir(b->out, 0700), 0);
    tool_put(&b->t, "in/x", "x", 1);
    tool_put(&b->t, "one", "1", 1);
    tool_put(&b->t, "two", "2", 1);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    tool_done(&b->t);
    free(b);
    return 0;
}

/* Runs `f` in a confined child; 0 when all it tried went as it should, else the line that did not.
 */
static int inside(struct bed *b, int (*f)(struct bed *))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct confine_path paths[] = {
            {.path = b->in, .dir = true},
            {.path = b->file},
            {.path = b->out, .dir = true, .write = true},
        };
        struct err err = ERR_INIT;
        if (confine_self(paths, 3, false, &err) < 0) {
            dprintf(2, "%s\n", err.msg);
            _exit(255);
        }
        _exit(f(b));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define MUST(e)                        \
    do {                               \
        if (!(e))                      \
            return __LINE__ % 250 + 1; \
    } while (0)

static int files(struct bed *b)
{
    char path[128];
    MUST(open(tool_path(&b->t, "in/x"), O_RDONLY) >= 0);
    MUST(open(b->file, O_RDONLY) >= 0);
    snprintf(path, sizeof(path), "%s/new", b->out);
    MUST(open(path, O_WRONLY | O_CREAT, 0600) >= 0);
    MUST(unlink(path) == 0);
    MUST(open("/etc/passwd", O_RDONLY) < 0);
    MUST(open("/proc/self/maps", O_RDONLY) < 0);
    MUST(open(tool_path(&b->t, "two"), O_RDONLY) < 0);
    MUST(open(tool_path(&b->t, "in/x"), O_WRONLY) < 0);
    MUST(open(tool_path(&b->t, "in/y"), O_WRONLY | O_CREAT, 0600) < 0);
    MUST(open(b->file, O_WRONLY) < 0);
    MUST(unlink(tool_path(&b->t, "in/x")) < 0);
    MUST(rename(tool_path(&b->t, "two"), path) < 0);
    MUST(symlink("/etc/passwd", path) < 0);
    MUST(link(b->file, path) < 0);
    MUST(mkfifo(path, 0600) < 0);
    MUST(mkdir(path, 0700) < 0);
    return 0;
}

static int processes(struct bed *b)
{
    MUST(fork() < 0);
    MUST(socket(AF_INET, SOCK_STREAM, 0) < 0);
    MUST(socket(AF_UNIX, SOCK_STREAM, 0) < 0);
    MUST(kill(getppid(), 0) < 0);
    MUST(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0);
    MUST(execl("/bin/true", "true", NULL) < 0);
    MUST(setuid(0) < 0);
    MUST(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(page != MAP_FAILED);
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0);
#ifndef __SANITIZE_ADDRESS__
    MUST(mmap(NULL, 5ull << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
#endif
    MUST(fcntl(3, F_GETFD) < 0);
    MUST(fcntl(9, F_GETFD) < 0);
    return 0;
}

static void only_its_files(void **state)
{
    assert_int_equal(inside(*state, files), 0);
}

static void no_processes_sockets_code(void **state)
{
    int fd = open("/etc/passwd", O_RDONLY); /* inherited on purpose: it must be closed */
    assert_true(fd >= 0 && dup2(fd, 9) == 9);
    assert_int_equal(inside(*state, processes), 0);
    close(fd);
    close(9);
}

static void a_path_that_is_not_there_fails(void **state)
{
    struct bed *b = *state;
    memcpy(b->file, "/nonexistent", 13);
    assert_int_equal(inside(b, files), 255);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(only_its_files),
        T(no_processes_sockets_code),
        T(a_path_that_is_not_there_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
