/* creel init: the state directory, its database and the operator's two keys. Doing it again changes
 * nothing. */
#include <string.h>

#include "controller/cli/verbs.h"
#include "controller/keys.h"

struct init_opts {
    const char *signing_key, *ssh_key;
};

static const struct opt options[] = {
    {.name = "signing-key",
     .kind = OPT_TEXT,
     .offset = offsetof(struct init_opts, signing_key),
     .arg = "FILE",
     .help = "sign with this OpenSSH Ed25519 key instead of a new one"},
    {.name = "ssh-key",
     .kind = OPT_TEXT,
     .offset = offsetof(struct init_opts, ssh_key),
     .arg = "FILE",
     .help = "log in to hosts with this OpenSSH Ed25519 key instead of a new one"},
    {.name = NULL},
};

/* Looked at before anything is made. */
static int files_check(const struct init_opts *o, struct err *err)
{
    uint8_t signing[KEY_PUB_BYTES] = {0}, login[KEY_PUB_BYTES] = {0};
    int rc = o->signing_key ? key_file_pub(o->signing_key, signing, err) : 0;

    if (rc == 0 && o->ssh_key)
        rc = key_file_pub(o->ssh_key, login, err);
    if (rc == 0 && o->signing_key && o->ssh_key && memcmp(signing, login, sizeof(signing)) == 0)
        rc = err_set(err, ERR_USAGE,
                     "the signing key and the login key must differ: whoever can log in to a host "
                     "must not be able to sign tasks");
    return rc;
}

static int key_have(const struct paths *p, enum own_key which, const char *file, struct err *err)
{
    if (own_key_exists(p, which))
        return 0;
    return file ? own_key_adopt(p, which, file, err) : own_key_make(p, which, err);
}

static int database(const struct paths *p, struct err *err)
{
    char path[PATH_MAX];
    struct store *s = NULL;
    int rc = paths_at(p, "creel.db", path, err);

    rc = rc < 0 ? rc : store_open(path, true, &s, err);
    store_close(s);
    return rc;
}

static int next_steps(const struct paths *p, struct err *err)
{
    uint8_t login[KEY_PUB_BYTES], signing[KEY_PUB_BYTES];
    char fpr[KEY_FPR_SIZE];
    struct buf b;
    int rc = own_key_pub(p, OWN_KEY_SSH, login, err);

    rc = rc < 0 ? rc : own_key_pub(p, OWN_KEY_SIGNING, signing, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    key_fingerprint(signing, fpr);
    buf_addf(&b, "initialised %s\nsigning key %s\n\nnext, on each host:\n", p->root, fpr);
    buf_adds(&b, "  1. into the runner account's ~/.ssh/authorized_keys:\n     ");
    key_pub_line(login, "creel-ssh", &b);
    buf_adds(&b, "  2. into the file that creel-runner serve --controllers names:\n     ");
    key_pub_line(signing, "creel-signing", &b);
    buf_adds(&b, "then here:\n"
                 "  3. creel host add NAME USER@ADDRESS --fingerprint SHA256:...   "
                 "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the host)\n"
                 "  4. creel doctor\n");
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int init(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct init_opts *o = opts;
    struct paths p = {.rootfd = -1};
    int rc = cli_nargs(nargs, 0, "init takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : files_check(o, err);
    rc = rc < 0 ? rc : paths_open(cli->state, true, &p, err);
    if (rc < 0)
        return rc;
    if (own_key_exists(&p, OWN_KEY_SIGNING) && own_key_exists(&p, OWN_KEY_SSH)) {
        rc = database(&p, err);
        if (rc == 0)
            cli_say("already initialised: %s, nothing changed", p.root);
    } else {
        rc = key_have(&p, OWN_KEY_SIGNING, o->signing_key, err);
        rc = rc < 0 ? rc : key_have(&p, OWN_KEY_SSH, o->ssh_key, err);
        rc = rc < 0 ? rc : database(&p, err);
        rc = rc < 0 ? rc : next_steps(&p, err);
    }
    paths_close(&p);
    return rc;
}

const struct cmd cmd_init = {
    .name = "init",
    .args = "[--signing-key FILE] [--ssh-key FILE]",
    .summary = "Make the state directory and the operator's keys.",
    .help =
        "Two Ed25519 keys are made: one signs tasks and is read by one process alone, one logs\n"
        "in to hosts. Either may instead be an unencrypted OpenSSH key of yours; it stays where\n"
        "it is. The directory is private to you (0700). Doing it again changes nothing.\n",
    .opts = options,
    .opts_size = sizeof(struct init_opts),
    .run = init,
};
