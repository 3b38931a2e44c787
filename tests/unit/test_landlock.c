/* What Landlock is asked for, kernel by kernel, and that it holds on this one. */
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/landlock.h"

static const char *const nowhere[] = {NULL};

static void by_abi(void **state)
{
    struct landlock_fence run = {.files = true, .renames = true, .tcp = true};
    struct landlock_fence collect = {.files = true};
    struct landlock_fence nested = {.renames = true, .tcp = true};
    const uint64_t refer = 1u << 13;
    struct landlock_rules r = landlock_rules(0, &collect);
    assert_true(!r.fs && !r.net && !r.scoped);
    /* ABI 1 would forbid every rename between directories: none where renames are needed. */
    assert_int_equal(landlock_rules(1, &run).fs, 0);
    assert_int_equal(landlock_rules(1, &collect).fs, refer - 1);
    assert_int_equal(landlock_rules(2, &run).fs, 2 * refer - 1);
    assert_int_equal(landlock_rules(3, &run).fs, 4 * refer - 1);
    assert_int_equal(landlock_rules(7, &run).fs, 8 * refer - 1);
    assert_int_equal(landlock_rules(3, &collect).net, 0);
    assert_int_equal(landlock_rules(4, &collect).net, 3);
    assert_int_equal(landlock_rules(7, &run).net, 0);
    assert_int_equal(landlock_rules(5, &run).scoped, 0);
    assert_int_equal(landlock_rules(6, &run).scoped, 3);
    assert_int_equal(landlock_rules(7, &nested).fs, 0);
    assert_int_equal(landlock_rules(7, &nested).scoped, 3);
}

/* In a child behind the fence: bit n of the exit status is set when part n did not hold. */
static int behind(const struct landlock_fence *fence, const char *inside, const char *outside)
{
    struct err err = ERR_INIT;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char path[256], other[256];
    int wrong = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || landlock_apply(fence, &err) < 0)
        return 64;
    snprintf(path, sizeof path, "%s/f", inside);
    wrong |= open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0;
    snprintf(other, sizeof other, "%s/d/f", inside);
    wrong |= (rename(path, other) < 0) << 1;
    snprintf(path, sizeof path, "%s/f", outside);
    wrong |= (open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EACCES) << 2;
    wrong |= (open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0) << 3;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = bind(fd, (struct sockaddr *)&sin, sizeof sin) == 0;
    wrong |= (bound != fence->tcp && landlock_abi() >= 4) << 4;
    return wrong;
}

static void on_this_kernel(void **state)
{
    char in[] = "/tmp/creel-landlock-in.XXXXXX", out[] = "/tmp/creel-landlock-out.XXXXXX";
    char path[64];
    int status = 0;
    if (landlock_abi() < 2) {
        print_message("SKIPPED: this kernel's Landlock ABI is %d\n", landlock_abi());
        skip();
    }
    assert_non_null(mkdtemp(in));
    assert_non_null(mkdtemp(out));
    snprintf(path, sizeof path, "%s/d", in);
    assert_int_equal(mkdir(path, 0700), 0);
    const char *const writable[] = {in, NULL};
    for (int tcp = 0; tcp < 2; tcp++) {
        const struct landlock_fence fence = {
            .files = true, .renames = true, .tcp = tcp, .writable = writable, .program = -1};
        pid_t pid = fork();
        if (pid == 0)
            _exit(behind(&fence, in, out));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    /* And the fence without rules about files has none. */
    const struct landlock_fence open_fence = {.tcp = true, .writable = nowhere, .program = -1};
    pid_t pid = fork();
    if (pid == 0)
        _exit(behind(&open_fence, in, out));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 4);
    pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", in, out, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_abi),
        cmocka_unit_test(on_this_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
