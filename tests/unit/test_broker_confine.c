/* The broker's fences from inside: each child tries one thing and tells how it went. */
#include "controller/broker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"

static char dir[64];

static int tell(long rc)
{
    return rc < 0 ? errno : 0;
}

static int open_at(const char *path, int flags)
{
    return tell(open(path, flags | O_CLOEXEC, 0600));
}

static int inside(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/new", dir);
    return open_at(path, O_RDWR | O_CREAT);
}

static int etc(void)
{
    return open_at("/etc/hosts", O_RDONLY);
}

static int etc_write(void)
{
    return open_at("/etc/creel-test-of-confinement", O_WRONLY | O_CREAT);
}

static int tmp(void)
{
    return open_at("/tmp", O_RDONLY | O_DIRECTORY);
}

static int proc(void)
{
    return open_at("/proc/1/environ", O_RDONLY);
}

static int run(void)
{
    char name[] = "true";
    char *argv[] = {name, NULL};
    return tell(execv("/bin/true", argv));
}

static int spawn(void)
{
    return tell(fork());
}

static int trace(void)
{
    return tell(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int serve(void)
{
    return tell(listen(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1));
}

static int packet(void)
{
    return tell(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int dial(void)
{
    return tell(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int executable(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) == MAP_FAILED
               ? errno
               : 0;
}

static int signals(void)
{
    return tell(kill(getppid(), SIGCONT));
}

static void *nothing(void *arg)
{
    return arg;
}

static int threads(void)
{
    pthread_t t;
    int rc = pthread_create(&t, NULL, nothing, NULL);
    return rc ? rc : pthread_join(t, NULL);
}

static int names(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    return getaddrinfo("localhost", "443", &hints, &list) == 0 ? 0 : EIO;
}

static void each(void **state)
{
    static const struct {
        const char *name;
        int (*try)(void);
        int wanted; /* errno; -SIGSYS: dies of it */
    } rows[] = {
        {"a file of its directory", inside, 0},
        {"reading /etc", etc, 0},
        {"writing /etc", etc_write, EACCES},
        {"another directory", tmp, EACCES},
        {"another process's environment", proc, EACCES},
        {"a program", run, -SIGSYS},
        {"a process", spawn, -SIGSYS},
        {"a trace", trace, -SIGSYS},
        {"a server", serve, -SIGSYS},
        {"raw packets", packet, EPERM},
        {"a connection", dial, 0},
        {"executable memory", executable, EPERM},
        {"a signal", signals, EPERM},
        {"a thread", threads, 0},
        {"a name", names, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct err err = ERR_INIT;
            broker_preload();
            if (broker_confine(dir, NULL, &err) < 0)
                _exit(255);
            _exit(rows[i].try());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        int got = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
        if (got != rows[i].wanted)
            fail_msg("%s: %d, wanted %d", rows[i].name, got, rows[i].wanted);
    }
}

static void environment(void **state)
{
    setenv("CREEL_TEST_ENV", "a-secret", 1);
    setenv("no_proxy", "example.com", 1);
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        const char *old = getenv("CREEL_TEST_ENV");
        broker_forget_environment();
        _exit(old[0] != 0 || getenv("CREEL_TEST_ENV") || getenv("PATH") || !getenv("no_proxy") ||
              strcmp(getenv("no_proxy"), "example.com") != 0);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void on_byte(uv_poll_t *poll, int status, int events)
{
    *(bool *)poll->data = status == 0;
    uv_poll_stop(poll);
}

static bool has_io_uring(void)
{
    char path[64], to[64] = "";
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, to, sizeof to - 1);
        to[n > 0 ? n : 0] = 0;
        if (strstr(to, "io_uring"))
            return true;
    }
    return false;
}

/* A loop is made before the fences and runs behind them, with nothing that reaches past them. */
static void a_loop(void **state)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        struct err err = ERR_INIT;
        uv_loop_t loop;
        uv_poll_t poll;
        int fds[2];
        bool heard = false;
        broker_forget_environment();
        if (uv_loop_init(&loop) < 0 || has_io_uring())
            _exit(1);
        if (broker_confine(dir, NULL, &err) < 0 || pipe(fds) < 0 || write(fds[1], "", 1) != 1)
            _exit(2);
        uv_poll_init(&loop, &poll, fds[0]);
        poll.data = &heard;
        uv_poll_start(&poll, UV_READABLE, on_byte);
        uv_run(&loop, UV_RUN_DEFAULT);
        _exit(heard ? 0 : 3);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each),
        cmocka_unit_test(environment),
        cmocka_unit_test(a_loop),
    };
    snprintf(dir, sizeof dir, "/tmp/creel-test-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_remove(dir);
    return rc;
}
