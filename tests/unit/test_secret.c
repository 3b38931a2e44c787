/* Hardening, seen from outside: in a child that hardened itself, and by the fate of wiped memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/secret.h"

static int hardened(void)
{
    struct err err = ERR_INIT;
    struct rlimit core = {0, 0};
    struct sigaction pipe_action;
    if (process_harden(&err) != 0)
        return 1;
    if (prctl(PR_GET_DUMPABLE) != 0)
        return 2;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 1 || core.rlim_max != 1)
        return 3;
    if (sigaction(SIGPIPE, NULL, &pipe_action) != 0 || pipe_action.sa_handler != SIG_IGN)
        return 4;
    return 0;
}

static void a_hardened_process(void **state)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(hardened());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void secret_memory(void **state)
{
    struct err err = ERR_INIT;
    char *p = secret_new(64, &err);
    assert_non_null(p);
    memset(p, 's', 64);
    secret_free(p);
    secret_free(NULL);
}

/* Memory that cannot be locked is refused: a secret must not reach the swap. As nobody, for root may
 * lock what it likes. */
static int unlockable(void)
{
    struct err err = ERR_INIT;
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        return 1;
    return secret_new(64, &err) ? 2 : err.code == ERR_FAIL ? 0 : 3;
}

static void unlocked_memory_is_refused(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    print_message(
        "SKIP: AddressSanitizer turns mlock() into nothing; the plain build tests this\n");
    skip();
#endif
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(unlockable());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hardened_process),
        cmocka_unit_test(secret_memory),
        cmocka_unit_test(unlocked_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
