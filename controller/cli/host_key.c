/* creel host key: the pinned key that signs results on a host. */
#include "controller/cli/key_print.h"
#include "controller/cli/verbs.h"

struct form_opts {
    bool pem, ssh, json;
};

static const struct opt form_options[] = {
    {.name = "pem",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, pem),
     .help = "as PEM SubjectPublicKeyInfo, for openssl"},
    {.name = "ssh",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, ssh),
     .help = "as an ssh-ed25519 line"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, json),
     .help = "as JSON"},
    {.name = NULL},
};

static int key(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct form_opts *o = opts;
    struct key_form form = {.pem = o->pem, .ssh = o->ssh, .json = o->json};
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host key NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    if (rc == 0 && !h.runner_key_known)
        rc = err_set(err, ERR_FAIL, "host %s has no pinned runner key", h.name);
    rc = rc < 0 ? rc : key_print(h.runner_key, h.name, &form, err);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_key = {
    .name = "key",
    .args = "NAME [--pem | --ssh | --json]",
    .summary = "Print the key that signs results on a host.",
    .opts = form_options,
    .opts_size = sizeof(struct form_opts),
    .run = key,
};
