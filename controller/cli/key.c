/* creel key: the operator's public keys, in the forms that other programs read. Never a secret one. */
#include "controller/cli/key_print.h"
#include "controller/cli/verbs.h"
#include "controller/keys.h"

struct key_opts {
    bool pem, ssh, login, json;
};

static const struct opt options[] = {
    {.name = "pem",
     .kind = OPT_FLAG,
     .offset = offsetof(struct key_opts, pem),
     .help = "as PEM SubjectPublicKeyInfo, for openssl"},
    {.name = "ssh",
     .kind = OPT_FLAG,
     .offset = offsetof(struct key_opts, ssh),
     .help = "as an ssh-ed25519 line, for a runner's controllers file and for ssh-keygen"},
    {.name = "login",
     .kind = OPT_FLAG,
     .offset = offsetof(struct key_opts, login),
     .help = "the key that logs in to hosts, instead of the one that signs"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct key_opts, json),
     .help = "as JSON"},
    {.name = NULL},
};

int key_print(const uint8_t pub[static KEY_PUB_BYTES], const char *comment,
              const struct key_form *form, struct err *err)
{
    char fpr[KEY_FPR_SIZE];
    struct buf b;
    int rc;

    if (form->pem + form->ssh + form->json > 1)
        return err_set(err, ERR_USAGE, "--pem, --ssh and --json exclude each other");
    buf_init(&b, KEY_LINE_MAX);
    key_fingerprint(pub, fpr);
    if (form->json) {
        struct buf line;

        buf_init(&line, KEY_LINE_MAX);
        key_pub_line(pub, comment, &line);
        line.len -= line.len > 0;
        line.data[line.len] = 0;
        emit_open(&b, NULL, '{');
        emit_int(&b, "version", 1);
        emit_text(&b, "fingerprint", fpr);
        emit_text(&b, "ssh", buf_str(&line));
        emit_close(&b, '}');
        buf_addc(&b, '\n');
        buf_done(&line);
    } else if (form->pem) {
        key_pub_pem(pub, &b);
    } else {
        if (!form->ssh)
            buf_addf(&b, "%s\n", fpr);
        key_pub_line(pub, comment, &b);
    }
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int show(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct key_opts *o = opts;
    enum own_key which = o->login ? OWN_KEY_SSH : OWN_KEY_SIGNING;
    struct key_form form = {.pem = o->pem, .ssh = o->ssh, .json = o->json};
    struct paths p = {.rootfd = -1};
    uint8_t pub[KEY_PUB_BYTES];
    int rc = cli_nargs(nargs, 0, "key show takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : paths_open(cli->state, false, &p, err);
    if (rc < 0)
        return rc;
    rc = own_key_pub(&p, which, pub, err);
    rc = rc < 0 ? rc : key_print(pub, o->login ? "creel-ssh" : "creel-signing", &form, err);
    paths_close(&p);
    return rc;
}

static const struct cmd key_show = {
    .name = "show",
    .args = "[--pem | --ssh | --json] [--login]",
    .summary = "Print a public key of the operator.",
    .help = "Without a form: the fingerprint, as ssh-keygen -lf prints it, and the ssh line.\n",
    .opts = options,
    .opts_size = sizeof(struct key_opts),
    .run = show,
};

static const struct cmd *const subs[] = {&key_show, NULL};

const struct cmd cmd_key = {
    .name = "key",
    .args = "show ...",
    .summary = "Show the operator's public keys.",
    .subs = subs,
};
