/* Compiles the tables of seccomp_table.c and the rules about arguments to BPF, and loads it. Never
 * decides what is allowed by itself beyond the argument rules that stand here. */
#include "runner/seccomp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/seccomp.h>
#include <seccomp.h>

#include "common/file.h"

#define LOW32         0xffffffffull
#define PROGRAM_BYTES (64u << 10)

static const uint64_t clone_namespaces[] = {
    CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
    CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET,
};

/* Types input into a terminal, or changes what a terminal is. */
static const uint64_t ioctls_denied[] = {TIOCSTI, 0x541C /* TIOCLINUX */, TIOCSETD};

static const uint64_t personalities[] = {PER_LINUX, ADDR_NO_RANDOMIZE, 0xffffffff /* asks */};

static int add_groups(scmp_filter_ctx ctx, const struct seccomp_group *groups, uint32_t action)
{
    for (const struct seccomp_group *g = groups; g->names; g++) {
        for (const char *const *name = g->names; *name; name++) {
            int nr = seccomp_syscall_resolve_name(*name);
            /* Negative: unknown here, or exists on other architectures only. */
            if (nr < 0)
                continue;
            int rc = seccomp_rule_add(ctx, action, nr, 0);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* The kernel reads an int: the upper half of the register may hold anything. */
#define INT_IS(arg, value) SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, LOW32, (value))

/* Of the internet families only what programs speak: each further protocol is a module that the
 * kernel would load from disk for whoever asks. */
static int allow_sockets(scmp_filter_ctx ctx)
{
    static const unsigned plain[] = {AF_UNIX, AF_NETLINK};
    static const unsigned internet[] = {AF_INET, AF_INET6};
    static const unsigned protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP, 262 /* IPPROTO_MPTCP */};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof plain / sizeof *plain; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, INT_IS(0, plain[i]));
    for (size_t i = 0; i < sizeof internet / sizeof *internet; i++)
        for (size_t k = 0; rc == 0 && k < sizeof protocols / sizeof *protocols; k++)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, INT_IS(0, internet[i]),
                                  INT_IS(2, protocols[k]));
    return rc;
}

static int allow_rules(scmp_filter_ctx ctx)
{
    int rc = add_groups(ctx, seccomp_allowed, SCMP_ACT_ALLOW);
    if (rc == 0)
        rc = allow_sockets(ctx);
    for (size_t i = 0; rc == 0 && i < sizeof personalities / sizeof *personalities; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
                              SCMP_A0(SCMP_CMP_EQ, personalities[i]));
    return rc;
}

/* Families are an int: junk in the upper half makes a value large, which only denies more. */
static int deny_families(scmp_filter_ctx ctx)
{
    const uint32_t eperm = SCMP_ACT_ERRNO(EPERM);
    int rc = 0;
    for (unsigned family = 0; rc == 0 && family < AF_NETLINK; family++)
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
            rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
    /* NETLINK_ROUTE (0) is how libc lists interfaces; every other protocol is surface. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
                              SCMP_A2(SCMP_CMP_NE, 0));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX));
    return rc;
}

/* The limit on core dumps stays what jail_drop.c made it: lowered to 0 it would start the program
 * that the host's core_pattern names. Programs that turn their dumps off get what they want, so they
 * are told that it worked; some end when it does not. */
static int keep_core_limit(scmp_filter_ctx ctx)
{
    const uint32_t done = SCMP_ACT_ERRNO(0);
    int rc = seccomp_rule_add(ctx, done, SCMP_SYS(setrlimit), 1, INT_IS(0, RLIMIT_CORE));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, done, SCMP_SYS(prlimit64), 3, SCMP_A0(SCMP_CMP_EQ, 0),
                              INT_IS(1, RLIMIT_CORE), SCMP_A2(SCMP_CMP_NE, 0));
    return rc;
}

static int deny_rules(scmp_filter_ctx ctx)
{
    const uint32_t eperm = SCMP_ACT_ERRNO(EPERM);
    int rc = add_groups(ctx, seccomp_denied, eperm);
    for (size_t i = 0; rc == 0 && i < sizeof clone_namespaces / sizeof *clone_namespaces; i++)
        rc =
            seccomp_rule_add(ctx, eperm, SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, clone_namespaces[i], clone_namespaces[i]));
    /* The kernel looks at the low 32 bits of the request only; a filter that compares all 64 is
     * passed by setting a high one (CVE-2019-10063). */
    for (size_t i = 0; rc == 0 && i < sizeof ioctls_denied / sizeof *ioctls_denied; i++)
        rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, ioctls_denied[i]));
    /* Pid 1 of the jail has the job's user id: the job could bend the tests by limits that they
     * inherit. Junk in the upper half only denies more. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_NE, 0));
    if (rc == 0)
        rc = keep_core_limit(ctx);
    return rc ? rc : deny_families(ctx);
}

/* libseccomp before 2.6 exports to a descriptor only. */
static int export_program(scmp_filter_ctx ctx, struct sock_fprog *out)
{
    int rc = -1;
    void *code = NULL;
    struct stat st;
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0 || seccomp_export_bpf(ctx, fd) < 0 || fstat(fd, &st) < 0)
        goto out;
    if (st.st_size <= 0 || st.st_size > PROGRAM_BYTES ||
        st.st_size % (off_t)sizeof(struct sock_filter) != 0)
        goto out;
    code = malloc((size_t)st.st_size);
    if (!code || pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
        goto out;
    out->filter = code;
    out->len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
    code = NULL;
    rc = 0;
out:
    free(code);
    fd_close(&fd);
    return rc;
}

static int compile_one(uint32_t otherwise, int (*rules)(scmp_filter_ctx), struct sock_fprog *out)
{
    int rc = -1;
    scmp_filter_ctx ctx = seccomp_init(otherwise);
    if (!ctx)
        return -1;
    if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0)
        goto out;
    /* A binary search instead of a chain: a shorter way for each call that has arguments checked.
     * Absent before libseccomp 2.5, and then the chain is as right. */
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rules(ctx) == 0)
        rc = export_program(ctx, out);
out:
    seccomp_release(ctx);
    return rc;
}

int seccomp_compile(struct seccomp_filter *out, struct err *err)
{
    struct seccomp_filter f = {0};
    if (compile_one(SCMP_ACT_ERRNO(ENOSYS), allow_rules, &f.allow) < 0 ||
        compile_one(SCMP_ACT_ALLOW, deny_rules, &f.deny) < 0) {
        seccomp_done(&f);
        return err_set(err, ERR_FAIL, "cannot compile the jail's system call filter");
    }
    *out = f;
    return 0;
}

void seccomp_done(struct seccomp_filter *f)
{
    free(f->allow.filter);
    free(f->deny.filter);
    *f = (struct seccomp_filter){0};
}

int seccomp_apply(const struct seccomp_filter *f, struct err *err)
{
    /* The one that allows seccomp(2) comes first. Among equal actions the later one's errno counts,
     * so a denied call answers EPERM although the first filter says ENOSYS. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f->allow) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f->deny) < 0)
        return err_errno(err, ERR_FAIL, "cannot load the jail's system call filter");
    return 0;
}
