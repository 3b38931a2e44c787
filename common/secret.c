/* Secrets in memory, and the hardening every process of creel starts with.
 *
 * After process_harden() the process is not dumpable: no core file, no ptrace by the same user, and
 * its /proc/self/ entries belong to root. A process that is not root can then no longer open its own
 * /proc/self/fd/N, maps, environ or uid_map; whoever needs those does it before, or lets a child set
 * itself dumpable again after exec (exec of a readable program resets the flag). */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>

/* Too little for a file. A program that core_pattern pipes to gets the dump whatever the limit is,
 * but at exactly this value the kernel does not start it (core(5)). */
#define CORE_LIMIT 1

int core_dumps_off(void)
{
    struct rlimit off = {CORE_LIMIT, CORE_LIMIT};
    if (setrlimit(RLIMIT_CORE, &off) == 0)
        return 0;
    /* Someone set 0 before, and it takes a capability to raise it. */
    off = (struct rlimit){0, 0};
    return errno == EPERM ? setrlimit(RLIMIT_CORE, &off) : -1;
}

bool core_dumps_piped(void)
{
    char first = 0;
    int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    bool read_it = fd >= 0 && read(fd, &first, 1) == 1;
    if (fd >= 0)
        close(fd);
    return read_it && (first == '|' || first == '@');
}

int process_harden(struct err *err)
{
    if (sodium_init() < 0)
        return err_set(err, ERR_FAIL, "libsodium cannot start: no source of randomness");
    if (core_dumps_off() != 0)
        return err_errno(err, ERR_FAIL, "cannot turn core dumps off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_errno(err, ERR_FAIL, "cannot make the process not dumpable");
    /* A peer that goes away is an error value here, not a death. Inherited by exec: whoever starts a
     * foreign program resets it to SIG_DFL. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) != 0)
        return err_errno(err, ERR_FAIL, "cannot ignore SIGPIPE");
    return 0;
}

void *secret_new(size_t n, struct err *err)
{
    void *p = sodium_malloc(n);
    if (!p) {
        err_errno(err, ERR_FAIL, "cannot allocate %zu bytes of guarded memory", n);
        return NULL;
    }
    /* sodium_malloc() goes on when its mlock() failed; asking again tells. */
    if (sodium_mlock(p, n) != 0) {
        err_errno(err, ERR_FAIL, "cannot lock %zu bytes in memory (see: ulimit -l)", n);
        sodium_free(p);
        return NULL;
    }
    return p;
}

void secret_free(void *p)
{
    sodium_free(p); /* wipes and unlocks; NULL is fine */
}
