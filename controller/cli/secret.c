/* creel secret: where the operator's long-lived secrets are. References alone pass through here, but for two
 * moments: `set NAME -` takes a value from the terminal and puts it into a file, and `test` resolves one to
 * measure it; both in locked memory, and neither says anything of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/secrets_internal.h"
#include "controller/cli/verbs.h"
#include "controller/redact.h"

#define OWN_DIR "secrets" /* in the broker's directory: values that `set NAME -` was given */

/* The broker's directory, and its list of references; locked against another `creel secret`. */
struct vault {
    struct paths paths;
    char dir[PATH_MAX];
    int dirfd;
    struct secret_refs refs;
};

static int vault_open(struct vault *v, struct cli *cli, struct err *err)
{
    *v = (struct vault){.paths = {.rootfd = -1}, .dirfd = -1};
    int rc = paths_open(cli->state, false, &v->paths, err);
    rc = rc < 0 ? rc : paths_broker(&v->paths, v->dir, err);
    if (rc == 0 && (v->dirfd = dir_open(v->dir, false, true, err)) < 0)
        rc = v->dirfd;
    if (rc == 0 && flock(v->dirfd, LOCK_EX) < 0)
        rc = err_errno(err, ERR_FAIL, "%s", v->dir);
    return rc < 0 ? rc : secret_refs_load(v->dirfd, &v->refs, err);
}

static void vault_close(struct vault *v)
{
    secret_refs_done(&v->refs);
    fd_close(&v->dirfd);
    if (v->paths.rootfd >= 0)
        paths_close(&v->paths);
}

static int no_such(const char *name, struct err *err)
{
    return err_set(err, ERR_USAGE, "there is no secret '%.64s': see 'creel secret ls'", name);
}

static int check_name(const char *name, struct err *err)
{
    return secret_name_valid(name)
               ? 0
               : err_set(err, ERR_USAGE,
                         "a secret's name: a-z, 0-9, then also . _ -, at most %d characters",
                         SECRET_NAME_SIZE - 1);
}

/* ---- set ---- */

static void on_signal(int number)
{
    (void)number; /* the read() it ends says the rest */
}

/* One line of the terminal, unseen. */
static ssize_t read_line(const char *name, uint8_t *to, size_t cap)
{
    struct termios was, quiet;
    struct sigaction act = {.sa_handler = on_signal}, old_int, old_term;
    if (tcgetattr(STDIN_FILENO, &was) < 0)
        return -1;
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "value of %s (not shown): ", name);
    ssize_t n = read(STDIN_FILENO, to, cap);
    int saved = errno;
    fputc('\n', stderr);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    errno = saved;
    return n;
}

static ssize_t read_all(uint8_t *to, size_t cap)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, to + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        len += (size_t)n;
        if (n == 0 || len == cap)
            return (ssize_t)len;
    }
}

static int read_value(struct cli *cli, const char *name, struct secret_mem *m, struct err *err)
{
    ssize_t n = cli->tty_in ? read_line(name, m->bytes, m->cap) : read_all(m->bytes, m->cap);
    if (n < 0 && errno == EINTR)
        return err_set(err, ERR_CANCELLED, "nothing was stored");
    if (n < 0)
        return err_errno(err, ERR_FAIL, "cannot read the value");
    m->len = (size_t)n;
    if (m->len > 0 && m->bytes[m->len - 1] == '\n')
        m->len--;
    if (m->len == 0)
        return err_set(err, ERR_USAGE, "the value is empty: nothing was stored");
    if (m->len > SECRET_VALUE_MAX || memchr(m->bytes, 0, m->len))
        return err_set(err, ERR_USAGE, "a value is text of at most %u bytes: nothing was stored",
                       SECRET_VALUE_MAX);
    return 0;
}

/* How well a value can be kept out of logs, in words. */
static int tell_forms(const char *name, const struct secret_mem *m, struct err *err)
{
    unsigned forms = needle_forms(m->bytes, m->len, err);
    struct buf b;
    if (forms == 0) {
        cli_say("%s: %zu bytes. Too short to be found: logs and patches are not searched for it",
                name, m->len);
        return 0;
    }
    buf_init(&b, 256);
    for (size_t i = 0; i < NEEDLE_FORM_COUNT; i++) {
        if (forms & (1u << i))
            buf_addf(&b, "%s%s", b.len ? ", " : "", needle_form_names[i]);
    }
    cli_say("%s: %zu bytes. Taken out of logs, and stopped in patches, as: %s", name, m->len,
            buf_str(&b));
    buf_done(&b);
    return 0;
}

/* Stores the value below the broker's directory; `ref` becomes where. */
static int keep_value(struct vault *v, struct cli *cli, const char *name,
                      char ref[static SECRET_REF_SIZE], struct err *err)
{
    struct secret_mem m = {.cap = SECRET_VALUE_MAX + 2};
    char dir[PATH_MAX];
    int dirfd = -1;
    int n = snprintf(dir, sizeof dir, "%s/" OWN_DIR, v->dir);
    if (n < 0 || n >= (int)sizeof dir ||
        snprintf(ref, SECRET_REF_SIZE, "file:%s/%s", dir, name) >= SECRET_REF_SIZE)
        return err_set(err, ERR_FAIL, "%s: too long a path", v->dir);
    if (!(m.bytes = secret_new(m.cap, err)))
        return -(int)err->code;
    int rc = read_value(cli, name, &m, err);
    if (rc == 0 && (dirfd = dir_open(dir, true, true, err)) < 0)
        rc = dirfd;
    if (rc == 0)
        rc = file_replace(dirfd, name, m.bytes, m.len, 0600, err);
    if (rc == 0)
        rc = tell_forms(name, &m, err);
    fd_close(&dirfd);
    secret_free(m.bytes);
    return rc;
}

/* A value that `set NAME -` stored and that nothing refers to any more. */
static void forget_value(struct vault *v, const struct secret_ref *r)
{
    char own[SECRET_REF_SIZE];
    int n = snprintf(own, sizeof own, "file:%s/" OWN_DIR "/%s", v->dir, r->name);
    int fd = -1;
    if (n < 0 || n >= (int)sizeof own || strcmp(r->ref, own) != 0 ||
        (fd = openat(v->dirfd, OWN_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        return;
    (void)unlinkat(fd, r->name, 0);
    close(fd);
}

static int put_ref(struct vault *v, const char *name, const char *ref, struct err *err)
{
    static const struct json_shape shape = {.size = sizeof(struct secret_ref)};
    struct secret_ref *r = (struct secret_ref *)(uintptr_t)secret_refs_find(&v->refs, name);
    if (r && strcmp(r->ref, ref) != 0)
        forget_value(v, r);
    if (!r && !(r = json_list_push(&v->refs.list, &shape)))
        return err_set(err, ERR_FAIL, "out of memory");
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->ref, sizeof r->ref, "%s", ref);
    return secret_refs_save(v->dirfd, &v->refs, err);
}

static int set(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct vault v;
    char ref[SECRET_REF_SIZE];
    (void)opts;
    int rc = cli_nargs(nargs, 2, "secret set NAME REF", err);
    rc = rc < 0 ? rc : check_name(args[0], err);
    if (rc < 0)
        return rc;
    bool given = strcmp(args[1], "-") == 0;
    if (!given && (rc = secret_ref_check(args[1], err)) < 0)
        return rc;
    rc = vault_open(&v, cli, err);
    if (rc == 0 && given)
        rc = keep_value(&v, cli, args[0], ref, err);
    if (rc == 0)
        rc = put_ref(&v, args[0], given ? ref : args[1], err);
    vault_close(&v);
    if (rc == 0 && !given)
        cli_say("%s is set; 'creel secret test %s' tries it", args[0], args[0]);
    return rc;
}

static const struct cmd secret_set = {
    .name = "set",
    .args = "NAME REF",
    .summary = "Say where a secret is; never the secret itself.",
    .help = "REF is one of\n"
            "  cmd:LINE             what this command prints, without its last newline\n"
            "  file:PATH            a file of yours that nobody else may read (mode 0600)\n"
            "  env:NAME             a variable of the shell that starts creel\n"
            "  git-credential:URL   the password that git's credential helpers have for it\n"
            "  -                    asks for the value, unseen (or reads it from a pipe), and "
            "keeps it\n"
            "                       in a file of its own, mode 0600, in the state directory\n\n"
            "A command runs in \"/\", without a terminal: what asks for a passphrase needs an "
            "agent or a\n"
            "window. It may take a minute.\n\n"
            "  creel secret set openai 'cmd:pass show openai/key'\n",
    .run = set,
};

/* ---- ls ---- */

struct ls_opts {
    bool json;
};

static const struct opt ls_options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct ls_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

static void ls_json(const struct secret_refs *refs, struct buf *b)
{
    const struct secret_ref *r = refs->list.items;
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "secrets", '[');
    for (size_t i = 0; i < refs->list.n; i++) {
        emit_open(b, NULL, '{');
        emit_text(b, "name", r[i].name);
        emit_text(b, "ref", r[i].ref);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void ls_text(const struct secret_refs *refs, struct buf *b)
{
    const struct secret_ref *r = refs->list.items;
    if (refs->list.n > 0)
        buf_addf(b, "%-20s %s\n", "NAME", "REFERENCE");
    for (size_t i = 0; i < refs->list.n; i++) {
        buf_addf(b, "%-20s ", r[i].name);
        cli_text(b, r[i].ref);
        buf_addc(b, '\n');
    }
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ls_opts *o = opts;
    struct vault v;
    struct buf b;
    (void)args;
    int rc = cli_nargs(nargs, 0, "secret ls takes options only", err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    rc = vault_open(&v, cli, err);
    if (rc == 0) {
        if (o->json)
            ls_json(&v.refs, &b);
        else
            ls_text(&v.refs, &b);
        if (v.refs.list.n == 0 && !o->json)
            cli_say("no secret is set yet: creel secret set NAME REF");
        rc = cli_out(&b, err);
    }
    vault_close(&v);
    buf_done(&b);
    return rc;
}

static const struct cmd secret_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List names and references.",
    .opts = ls_options,
    .opts_size = sizeof(struct ls_opts),
    .run = ls,
};

/* ---- test ---- */

static int resolve_here(const char *name, const char *ref, struct err *err)
{
    struct secret_mem m = {.cap = SECRET_VALUE_MAX + 2};
    if (!(m.bytes = secret_new(m.cap, err)))
        return -(int)err->code;
    int rc = secret_resolve_into(ref, SECRET_RESOLVE_S, -1, &m, err);
    rc = rc < 0 ? err_wrap(err, "secret %s", name) : tell_forms(name, &m, err);
    secret_free(m.bytes);
    return rc;
}

static int test(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct vault v;
    char ref[SECRET_REF_SIZE] = "";
    (void)opts;
    int rc = cli_nargs(nargs, 1, "secret test NAME", err);
    if (rc < 0)
        return rc;
    rc = vault_open(&v, cli, err);
    if (rc == 0) {
        const struct secret_ref *r = secret_refs_find(&v.refs, args[0]);
        if (r)
            memcpy(ref, r->ref, sizeof ref);
        else
            rc = no_such(args[0], err);
    }
    vault_close(&v); /* and its lock: a command may take its time */
    return rc < 0 ? rc : resolve_here(args[0], ref, err);
}

static const struct cmd secret_test = {
    .name = "test",
    .args = "NAME",
    .summary = "Get a secret as the broker would, and say its length; never what it is.",
    .help =
        "Says also in which forms it is looked for in logs and patches. What a command prints on\n"
        "stderr is shown.\n",
    .run = test,
};

/* ---- rm ---- */

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct vault v;
    (void)opts;
    int rc = cli_nargs(nargs, 1, "secret rm NAME", err);
    if (rc < 0)
        return rc;
    rc = vault_open(&v, cli, err);
    const struct secret_ref *r = rc == 0 ? secret_refs_find(&v.refs, args[0]) : NULL;
    if (rc == 0 && !r)
        rc = no_such(args[0], err);
    if (rc == 0) {
        struct secret_ref *all = v.refs.list.items, gone = *r;
        size_t at = (size_t)(r - all);
        memmove(all + at, all + at + 1, (v.refs.list.n - at - 1) * sizeof *all);
        v.refs.list.n--;
        rc = secret_refs_save(v.dirfd, &v.refs, err);
        if (rc == 0)
            forget_value(&v, &gone);
    }
    vault_close(&v);
    if (rc == 0)
        cli_say("%s is removed; a broker that runs forgets its value", args[0]);
    return rc;
}

static const struct cmd secret_rm = {
    .name = "rm",
    .args = "NAME",
    .summary = "Forget a reference, and the value where creel kept it.",
    .run = rm,
};

static const struct cmd *const subs[] = {&secret_set, &secret_ls, &secret_test, &secret_rm, NULL};

const struct cmd cmd_secret = {
    .name = "secret",
    .args = "set | ls | test | rm ...",
    .summary = "Where keys and tokens are that the broker uses.",
    .help = "creel keeps references to secrets, not secrets. The broker process alone has their "
            "values,\n"
            "when a task needs them, in locked memory; no host ever gets one. Logs and patches "
            "that hold\n"
            "one in a usual form are caught: it is taken out of the log, and the patch is not "
            "approved.\n",
    .subs = subs,
};
