/* creel-runner: the program on a host. One verb a row; what each does stands in its own file. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/file.h"
#include "common/opts.h"
#include "common/secret.h"
#include <config.h> /* the build's, not runner/config.h */
#include "runner/attach.h"
#include "runner/seccomp.h"
#include "runner/serve.h"

static const struct opt serve_opts[] = {
    {"state", 0, OPT_TEXT, offsetof(struct runner_config, state_dir), "DIR",
     "signing key and seen nonces; survives restarts", NULL},
    {"run", 0, OPT_TEXT, offsetof(struct runner_config, run_dir), "DIR",
     "socket and log spools; should be a tmpfs", NULL},
    {"host-key", 0, OPT_TEXT, offsetof(struct runner_config, host_key), "FILE.pub",
     "this host's own SSH host key", NULL},
    {"controllers", 0, OPT_TEXT, offsetof(struct runner_config, controllers), "FILE",
     "pinned controller keys, one a line", NULL},
    {"user", 0, OPT_TEXT, offsetof(struct runner_config, user), "NAME",
     "whom to become; needed when started as root", NULL},
    {"disks", 0, OPT_TEXT, offsetof(struct runner_config, disks), "DIR",
     "encrypted disks of tasks, root's alone, on a disk (DIR/disks of --state)", NULL},
    {"caches", 0, OPT_TEXT, offsetof(struct runner_config, caches), "DIR",
     "where to keep dependency caches of trusted tasks; root's alone", NULL},
    {"images", 0, OPT_TEXT, offsetof(struct runner_config, images), "DIR",
     "unpacked root file systems that tasks may name (deploy/image makes them)", NULL},
    {"tools", 0, OPT_TEXT, offsetof(struct runner_config, tools), "DIR",
     "programs for tasks, read-only in every jail (deploy/tools makes the directory)", NULL},
    {"slots", 0, OPT_UINT, offsetof(struct runner_config, slots), "N", "attempts at once (1)",
     NULL},
    {"reach", 0, OPT_MANY, offsetof(struct runner_config, reach), "CIDR",
     "a private network where allowed names may live (a mirror's); repeatable. This host's own "
     "addresses only one by one",
     NULL},
    {NULL},
};

static const struct opt attach_opts[] = {
    {"run", 0, OPT_TEXT, offsetof(struct runner_config, run_dir), "DIR", "the same as serve's",
     NULL},
    {NULL},
};

static const struct opt no_opts[] = {{NULL}};

static int required(const char *value, const char *flag, struct err *err)
{
    return value ? 0
                 : err_set(err, ERR_USAGE, "%s is required; see creel-runner serve --help", flag);
}

static int run_serve(const struct runner_config *cfg, struct err *err)
{
    int r = required(cfg->state_dir, "--state DIR", err);
    if (r == 0)
        r = required(cfg->run_dir, "--run DIR", err);
    if (r == 0)
        r = required(cfg->host_key, "--host-key FILE.pub", err);
    if (r == 0)
        r = required(cfg->controllers, "--controllers FILE", err);
    if (r == 0 && (cfg->slots < 1 || cfg->slots > RUNNER_SLOTS_MAX))
        r = err_set(err, ERR_USAGE, "--slots: from 1 to %d", RUNNER_SLOTS_MAX);
    return r < 0 ? r : serve_run(cfg, err);
}

static int run_attach(const struct runner_config *cfg, struct err *err)
{
    int r = required(cfg->run_dir, "--run DIR", err);
    return r < 0 ? r : attach_run(cfg->run_dir, err);
}

static int run_seccomp(const struct runner_config *cfg, struct err *err)
{
    (void)cfg;
    struct buf b;
    buf_init(&b, 64u << 10);
    int r = seccomp_explain(&b) < 0 || write_all(1, b.data, b.len) < 0
                ? err_errno(err, ERR_FAIL, "stdout")
                : 0;
    buf_done(&b);
    return r;
}

static int run_version(const struct runner_config *cfg, struct err *err)
{
    (void)cfg;
    return write_all(1, "creel-runner " CREEL_VERSION "\n",
                     strlen("creel-runner " CREEL_VERSION "\n"))
               ? err_errno(err, ERR_FAIL, "stdout")
               : 0;
}

static const struct verb {
    const char *name, *summary;
    const struct opt *opts;
    int (*run)(const struct runner_config *cfg, struct err *err);
} verbs[] = {
    {"serve", "take tasks from pinned controllers and run them in jails", serve_opts, run_serve},
    {"attach", "hand an SSH session to serve (sshd's forced command)", attach_opts, run_attach},
    {"seccomp", "print the system calls that a jail has, and why", no_opts, run_seccomp},
    {"version", "print the version", no_opts, run_version},
};

static int help(void)
{
    struct buf b;
    buf_init(&b, 16u << 10);
    buf_adds(&b, "usage: creel-runner VERB [OPTION]...\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        buf_addf(&b, "\ncreel-runner %s: %s\n", verbs[i].name, verbs[i].summary);
        opts_help(verbs[i].opts, &b);
    }
    int r = write_all(1, b.data, b.len);
    buf_done(&b);
    return r < 0 ? ERR_FAIL : 0;
}

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int run_verb(const struct verb *v, int argc, char **argv, struct err *err)
{
    struct runner_config cfg = {.slots = 1};
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    size_t nrest = 0;
    bool wants_help = false;
    int r = rest ? opts_parse(v->opts, argc, argv, &cfg, false, rest, &nrest, &wants_help, err)
                 : err_set(err, ERR_FAIL, "out of memory");
    if (r == 0 && nrest > 0)
        r = err_set(err, ERR_USAGE, "%s takes no arguments; '%s' is one", v->name, rest[0]);
    free(rest);
    if (r == 0)
        r = wants_help ? -help() : v->run(&cfg, err);
    strv_done(&cfg.reach);
    return r;
}

static int run(int argc, char **argv, struct err *err)
{
    if (argc < 2)
        return err_set(err, ERR_USAGE, "no verb; try: creel-runner help");
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)
        return -help();
    const struct verb *v = verb_find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
    if (!v)
        return err_set(err, ERR_USAGE, "unknown verb '%s'; try: creel-runner help", argv[1]);
    return run_verb(v, argc - 1, argv + 1, err);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    diag_init("creel-runner", DIAG_INFO);
    int r = process_harden(&err);
    if (r == 0)
        r = run(argc, argv, &err);
    if (r < 0 && err.code)
        diag(DIAG_ERROR, "%s", err.msg);
    return err_exit(&err);
}
