/* creel host add: a host is enrolled over a connection whose key the operator named beforehand. What
 * is pinned then: the SSH host key, and the runner's key that the checked connection showed.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "controller/cli/verbs.h"
#include "controller/probe.h"

#define HOST_KEY_FILE_MAX (64u << 10)

struct add_opts {
    const char *host_key, *fingerprint;
    bool trust_first_use, json;
};

static const struct opt options[] = {
    {.name = "host-key",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, host_key),
     .arg = "FILE",
     .help = "the host's public key, as in /etc/ssh/ssh_host_ed25519_key.pub there"},
    {.name = "fingerprint",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, fingerprint),
     .arg = "SHA256:...",
     .help = "the host key's fingerprint, as ssh-keygen -lf prints it there"},
    {.name = "trust-first-use",
     .kind = OPT_FLAG,
     .offset = offsetof(struct add_opts, trust_first_use),
     .help = "pin whatever key answers now; prints it, so that you can compare"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct add_opts, json),
     .help = "print what was pinned as JSON"},
    {.name = NULL},
};

/* A .pub file or a known_hosts line: there the key follows the host's names. */
static int line_parse(const char *line, struct ssh_pub *out)
{
    const char *blank;

    if (ssh_pub_parse(line, out, NULL) == 0)
        return 0;
    line += strspn(line, " \t");
    blank = strpbrk(line, " \t");
    return line[0] != '@' && blank ? ssh_pub_parse(blank, out, NULL) : -1;
}

static int key_file(const char *file, char fpr[static KEY_FPR_SIZE], struct err *err)
{
    struct ssh_pub pub;
    char *line, *rest;
    struct buf text;
    int found = 0, rc;

    buf_init(&text, HOST_KEY_FILE_MAX);
    rc = cli_read(file, &text, err);
    rest = (char *)text.data;
    while (rc == 0 && (line = strsep(&rest, "\n")) != NULL) {
        if (line[0] == '#' || strspn(line, " \t\r") == strlen(line))
            continue;
        if (line_parse(line, &pub) < 0)
            rc =
                err_set(err, ERR_USAGE, "%s: not a line of an SSH public key: '%.60s'", file, line);
        else if (found++)
            rc = err_set(err, ERR_USAGE, "%s holds several keys: give the one to pin", file);
        else
            ssh_pub_fingerprint(&pub, fpr);
    }
    if (rc == 0 && !found)
        rc = err_set(err, ERR_USAGE, "%s holds no key", file);
    buf_done(&text);
    return rc;
}

static int pin_wanted(const struct add_opts *o, char fpr[static KEY_FPR_SIZE], struct err *err)
{
    int ways = (o->host_key != NULL) + (o->fingerprint != NULL) + o->trust_first_use;

    if (ways != 1)
        return err_set(err, ERR_USAGE,
                       "say which key the host has: one of --host-key FILE, --fingerprint "
                       "SHA256:..., --trust-first-use");
    fpr[0] = 0;
    if (o->host_key)
        return key_file(o->host_key, fpr, err);
    if (o->fingerprint && !key_fingerprint_valid(o->fingerprint))
        return err_set(err, ERR_USAGE, "'%.60s' is not a fingerprint: SHA256: and 43 characters",
                       o->fingerprint);
    snprintf(fpr, KEY_FPR_SIZE, "%s", o->fingerprint ? o->fingerprint : "");
    return 0;
}

static void row_fill(struct host_row *h, const struct host_target *t, const struct probe *seen)
{
    *h = (struct host_row){.port = t->port, .runner_key_known = true};
    snprintf(h->name, sizeof(h->name), "%s", t->name);
    snprintf(h->user, sizeof(h->user), "%s", t->user);
    snprintf(h->addr, sizeof(h->addr), "%s", t->addr);
    snprintf(h->host_key, sizeof(h->host_key), "%s", seen->host_key);
    memcpy(h->host_key_fpr, seen->host_key_fpr, sizeof(h->host_key_fpr));
    memcpy(h->runner_key, seen->welcome.runner_key, sizeof(h->runner_key));
    store_host_facts(&seen->welcome, h);
    h->added = h->last_seen = clock_wall_s();
}

static void report_text(const struct host_row *h, const struct add_opts *o, struct buf *b)
{
    char fpr[KEY_FPR_SIZE];

    key_fingerprint(h->runner_key, fpr);
    buf_addf(b, "enrolled %s: %s@%s port %u\n", h->name, h->user, h->addr, h->port);
    buf_addf(b, "  host key    %s%s\n", h->host_key_fpr,
             o->trust_first_use ? "  (TRUSTED ON FIRST USE: compare it with the host's own)" : "");
    buf_addf(b, "  runner key  %s\n  runner      ", fpr);
    cli_text(b, h->program);
    buf_addf(b, ", %s, %u slot%s, kernel ", h->rooted ? "as root" : "without root", h->slots,
             h->slots == 1 ? "" : "s");
    cli_text(b, h->kernel);
    buf_addc(b, '\n');
    if (h->unenforceable) {
        buf_adds(b, "  cannot enforce there: ");
        limit_list(h->unenforceable, b);
        buf_adds(b, " (");
        cli_text(b, h->unenforceable_why);
        buf_adds(b, ")\n  tasks are refused there unless they allow that: --allow-unenforced\n");
    }
    if (!h->memory_cleared)
        buf_adds(b, "  freed memory is not cleared there: boot it with init_on_free=1\n");
    buf_addf(b, "  what else it can do: creel host test %s\n", h->name);
}

static int report(const struct host_row *h, const struct add_opts *o, struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, CLI_OUT_MAX);
    if (o->json) {
        emit_open(&b, NULL, '{');
        emit_int(&b, "version", 1);
        emit_key(&b, "host");
        host_json(h, &b);
        emit_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        report_text(h, o, &b);
    }
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

/* The runner signs for, and accepts tasks for, the host key it was started with: one that differs
 * from what sshd shows would refuse every task. */
static int audience_check(const struct probe *seen, struct err *err)
{
    if (strcmp(seen->welcome.host_key, seen->host_key_fpr) == 0)
        return 0;
    return err_set(
        err, ERR_TRUST,
        "sshd there shows %s, but its runner was started for %s: start creel-runner with "
        "--host-key of the key that sshd shows",
        seen->host_key_fpr, seen->welcome.host_key);
}

static int name_free(struct store *s, const char *name, struct err *err)
{
    struct host_row h;
    struct err none = ERR_INIT;

    if (store_host_get(s, name, &h, &none) == 0)
        return err_set(err, ERR_USAGE, "host '%s' exists: 'creel host rm %s' first", name, name);
    return none.code == ERR_USAGE ? 0 : (*err = none, -(int)none.code);
}

static int enrol(struct cli *cli, const struct add_opts *o, struct host_target *t, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h = {0};
    struct probe seen = {0};
    int rc = cli_open(cli, &p, &s, err);

    if (rc < 0)
        return rc;
    rc = name_free(s, t->name, err);
    rc = rc < 0 ? rc : paths_ssh_key(&p, t->ssh_key, err);
    rc = rc < 0 ? rc : probe_host(t, &seen, err);
    rc = rc < 0 ? rc : audience_check(&seen, err);
    if (rc == 0) {
        row_fill(&h, t, &seen);
        rc = store_host_put(s, &h, err);
    }
    rc = rc < 0 ? rc : report(&h, o, err);
    probe_done(&seen);
    cli_close(&p, s);
    return rc;
}

static int add(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct add_opts *o = opts;
    struct host_target t = {0};
    int rc = cli_nargs(nargs, 2, "host add NAME [USER@]ADDRESS[:PORT]", err);

    if (rc == 0 && !store_host_name_valid(args[0]))
        rc = err_set(err, ERR_USAGE,
                     "'%.70s' is not a host name: small letters, digits, '.', '-', at most 64",
                     args[0]);
    rc = rc < 0 ? rc : pin_wanted(o, t.host_key_fpr, err);
    rc = rc < 0 ? rc : probe_target_parse(args[1], &t, err);
    if (rc < 0)
        return rc;
    snprintf(t.name, sizeof(t.name), "%s", args[0]);
    return enrol(cli, o, &t, err);
}

const struct cmd cmd_host_add = {
    .name = "add",
    .args = "NAME [USER@]ADDRESS[:PORT] --host-key FILE | --fingerprint SHA256:...",
    .summary = "Enrol a host: check its key, pin its runner's.",
    .help = "Connects once. The host key must be the one you name; only --trust-first-use takes\n"
            "whatever answers. An IPv6 address stands in [brackets].\n\n"
            "  creel host add box runner@192.0.2.7 --host-key box_ed25519.pub\n"
            "  creel host add box runner@[2001:db8::7]:2222 --fingerprint SHA256:abc...\n",
    .opts = options,
    .opts_size = sizeof(struct add_opts),
    .run = add,
};
