/* Compiles the tables of seccomp_table.c to BPF, and loads it. Decides nothing by itself: what is
 * allowed, and on which arguments, stands in the tables. */
#include "runner/seccomp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/seccomp.h>
#include <seccomp.h>

#include "common/file.h"

#define PROGRAM_BYTES (64u << 10)
#define TESTS_MAX     (sizeof((struct seccomp_rule *)0)->tests / sizeof(struct seccomp_test))

static bool in_groups(const struct seccomp_group *groups, const char *name)
{
    for (const struct seccomp_group *g = groups; g->names; g++)
        for (const char *const *n = g->names; *n; n++)
            if (strcmp(*n, name) == 0)
                return true;
    return false;
}

static int add_groups(scmp_filter_ctx ctx, const struct seccomp_group *groups,
                      const struct seccomp_group *but, uint32_t action)
{
    for (const struct seccomp_group *g = groups; g->names; g++) {
        for (const char *const *name = g->names; *name; name++) {
            int nr = seccomp_syscall_resolve_name(*name);
            /* Negative: unknown here, or exists on other architectures only. */
            if (nr < 0 || (but && in_groups(but, *name)))
                continue;
            int rc = seccomp_rule_add(ctx, action, nr, 0);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static struct scmp_arg_cmp as_cmp(const struct seccomp_test *t)
{
    struct scmp_arg_cmp cmp = {.arg = t->arg, .datum_a = t->value};
    switch (t->op) {
    case SECCOMP_IS:
        if (t->mask == ~0ull) {
            cmp.op = SCMP_CMP_EQ;
        } else {
            cmp = (struct scmp_arg_cmp){t->arg, SCMP_CMP_MASKED_EQ, t->mask, t->value};
        }
        break;
    case SECCOMP_HAS:
        cmp = (struct scmp_arg_cmp){t->arg, SCMP_CMP_MASKED_EQ, t->value, t->value};
        break;
    case SECCOMP_IS_NOT:
        cmp.op = SCMP_CMP_NE;
        break;
    case SECCOMP_ABOVE:
        cmp.op = SCMP_CMP_GT;
        break;
    }
    return cmp;
}

static int add_rules(scmp_filter_ctx ctx, enum seccomp_variant variant, bool grants)
{
    int rc = 0;
    for (const struct seccomp_rule *r = seccomp_rules; rc == 0 && r->call; r++) {
        struct scmp_arg_cmp cmps[TESTS_MAX];
        unsigned n = 0;
        int nr = seccomp_syscall_resolve_name(r->call);
        bool grant = r->answer == SECCOMP_GRANT;
        /* Where the whole call is denied, a rule about its arguments has nothing to add. */
        bool moot = variant == SECCOMP_PLAIN && !grant && in_groups(seccomp_denied, r->call);
        if (nr < 0 || grant != grants || moot || (r->plain_only && variant != SECCOMP_PLAIN))
            continue;
        for (; n < TESTS_MAX && r->tests[n].op; n++)
            cmps[n] = as_cmp(&r->tests[n]);
        rc = seccomp_rule_add_array(
            ctx, grant ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint32_t)r->answer), nr, n, cmps);
    }
    return rc;
}

static int deny_rules(scmp_filter_ctx ctx, enum seccomp_variant variant)
{
    const struct seccomp_group *but = variant == SECCOMP_NESTED ? seccomp_nested : NULL;
    int rc = add_groups(ctx, seccomp_denied, but, SCMP_ACT_ERRNO(EPERM));
    return rc < 0 ? rc : add_rules(ctx, variant, false);
}

static int allow_rules(scmp_filter_ctx ctx, enum seccomp_variant variant)
{
    int rc = add_groups(ctx, seccomp_allowed, NULL, SCMP_ACT_ALLOW);
    if (rc == 0 && variant == SECCOMP_NESTED)
        rc = add_groups(ctx, seccomp_nested, NULL, SCMP_ACT_ALLOW);
    return rc < 0 ? rc : add_rules(ctx, variant, true);
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

static int compile_half(uint32_t otherwise, enum seccomp_variant variant,
                        int (*rules)(scmp_filter_ctx, enum seccomp_variant), struct sock_fprog *out)
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
    if (rules(ctx, variant) == 0)
        rc = export_program(ctx, out);
out:
    seccomp_release(ctx);
    return rc;
}

/* libseccomp has no rule "allow but for these arguments", so denials are a program of their own. Where
 * it would allow, the second one goes on instead: one filter, and one look at it for each call whose arguments are judged, instead of two.
 * Jumps in BPF are relative and forward, so nothing else has to change. */
static int join(const struct sock_fprog *deny, const struct sock_fprog *allow,
                struct sock_fprog *out)
{
    size_t n = (size_t)deny->len + allow->len;
    if (n > BPF_MAXINSNS || !(out->filter = calloc(n, sizeof *out->filter)))
        return -1;
    out->len = (unsigned short)n;
    memcpy(out->filter, deny->filter, deny->len * sizeof *out->filter);
    memcpy(out->filter + deny->len, allow->filter, allow->len * sizeof *out->filter);
    for (unsigned i = 0; i < deny->len; i++)
        if (out->filter[i].code == (BPF_RET | BPF_K) && out->filter[i].k == SECCOMP_RET_ALLOW)
            out->filter[i] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, deny->len - i - 1);
    return 0;
}

static int compile_one(enum seccomp_variant variant, struct sock_fprog *out)
{
    struct sock_fprog deny = {0}, allow = {0};
    int rc = compile_half(SCMP_ACT_ALLOW, variant, deny_rules, &deny);
    if (rc == 0)
        rc = compile_half(SCMP_ACT_ERRNO(ENOSYS), variant, allow_rules, &allow);
    if (rc == 0)
        rc = join(&deny, &allow, out);
    free(deny.filter);
    free(allow.filter);
    return rc;
}

int seccomp_compile(struct seccomp_filter *out, struct err *err)
{
    struct seccomp_filter f = {0};
    for (int v = 0; v < SECCOMP_VARIANTS; v++)
        if (compile_one((enum seccomp_variant)v, &f.programs[v]) < 0) {
            seccomp_done(&f);
            return err_set(err, ERR_FAIL, "cannot compile the jail's system call filter");
        }
    *out = f;
    return 0;
}

void seccomp_done(struct seccomp_filter *f)
{
    for (int v = 0; v < SECCOMP_VARIANTS; v++)
        free(f->programs[v].filter);
    *f = (struct seccomp_filter){0};
}

int seccomp_apply(const struct seccomp_filter *f, enum seccomp_variant variant, struct err *err)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f->programs[variant]) < 0)
        return err_errno(err, ERR_FAIL, "cannot load the jail's system call filter");
    return 0;
}
