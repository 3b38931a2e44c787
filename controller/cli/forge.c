/* creel forge: where the operator's repositories are, by names of secrets, never their values. */
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "controller/broker/forge.h"
#include "controller/cli/verbs.h"

struct add_opts {
    const char *kind, *web, *api, *app, *installation, *key, *token, *ca_file;
    bool replace;
};

struct ls_opts {
    bool json;
};

static const struct opt add_options[] = {
    {.name = "kind",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, kind),
     .arg = "KIND",
     .help = "github (also Enterprise Server), gitlab or forgejo (also Gitea)"},
    {.name = "web",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, web),
     .arg = "URL",
     .help = "below which its repositories are (default: github.com, gitlab.com)"},
    {.name = "api",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, api),
     .arg = "URL",
     .help = "of its API (default: follows from --web)"},
    {.name = "token",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, token),
     .arg = "SECRET",
     .help =
         "secret that is your own token there: pull requests, git broker, GitLab's task tokens"},
    {.name = "app",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, app),
     .arg = "ID",
     .help = "GitHub App that mints tokens for tasks: its id or client id"},
    {.name = "installation",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, installation),
     .arg = "NUMBER",
     .help = "the App's installation at the account that owns the repositories"},
    {.name = "key",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, key),
     .arg = "SECRET",
     .help = "secret that is the App's private key (PEM)"},
    {.name = "ca-file",
     .kind = OPT_TEXT,
     .offset = offsetof(struct add_opts, ca_file),
     .arg = "FILE",
     .help = "PEM of further authorities for its certificate"},
    {.name = "replace",
     .kind = OPT_FLAG,
     .offset = offsetof(struct add_opts, replace),
     .help = "change one that is there"},
    {.name = NULL},
};

static const struct opt ls_options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct ls_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

/* Opens the broker's directory and reads the list; forges_close() in any case. */
static int forges_open(struct cli *cli, int *ret_fd, struct forges *fs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    char dir[PATH_MAX];
    int rc = paths_open(cli->state, false, &p, err);
    if (rc == 0)
        rc = paths_broker(&p, dir, err);
    if (rc == 0 && (*ret_fd = dir_open(dir, false, true, err)) < 0)
        rc = *ret_fd;
    if (rc == 0)
        rc = forges_load(*ret_fd, fs, err);
    paths_close(&p);
    return rc;
}

static void forges_close(int *fd, struct forges *fs)
{
    forges_done(fs);
    fd_close(fd);
}

static int take(char *to, size_t size, const char *what, const char *value, struct err *err)
{
    if (!value)
        return 0;
    if (strlen(value) >= size)
        return err_set(err, ERR_USAGE, "%s: too long", what);
    memcpy(to, value, strlen(value) + 1);
    return 0;
}

static int kind_parse(const char *word, int *ret, struct err *err)
{
    for (int i = 0; word && i < FORGE_KIND_COUNT; i++)
        if (strcmp(word, forge_kind_names[i]) == 0) {
            *ret = i;
            return 0;
        }
    return err_set(err, ERR_USAGE, "say --kind github, gitlab or forgejo");
}

static int from_options(const struct add_opts *o, const char *name, struct forge *f,
                        struct err *err)
{
    const struct {
        char *to;
        size_t size;
        const char *what, *value;
    } texts[] = {
        {f->name, sizeof f->name, "NAME", name},
        {f->web, sizeof f->web, "--web", o->web},
        {f->api, sizeof f->api, "--api", o->api},
        {f->app_id, sizeof f->app_id, "--app", o->app},
        {f->installation, sizeof f->installation, "--installation", o->installation},
        {f->key, sizeof f->key, "--key", o->key},
        {f->token, sizeof f->token, "--token", o->token},
        {f->ca_file, sizeof f->ca_file, "--ca-file", o->ca_file},
    };
    int rc = kind_parse(o->kind, &f->kind, err);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && rc == 0; i++)
        rc = take(texts[i].to, texts[i].size, texts[i].what, texts[i].value, err);
    if (rc < 0)
        return rc;
    forge_defaults(f);
    return forge_check(f, err);
}

/* One element out of the list, if it is there. */
static bool drop(struct forges *fs, const char *name)
{
    struct forge *items = fs->list.items;
    for (size_t i = 0; i < fs->list.n; i++)
        if (strcmp(items[i].name, name) == 0) {
            memmove(&items[i], &items[i + 1], (fs->list.n - i - 1) * sizeof *items);
            fs->list.n--;
            return true;
        }
    return false;
}

static int put(struct forges *fs, const struct forge *f, bool replace, struct err *err)
{
    if (forges_find(fs, f->name) && !replace)
        return err_set(err, ERR_USAGE, "forge %s is there already: --replace changes it", f->name);
    drop(fs, f->name);
    struct forge *to = json_list_push(&fs->list, &forge_shape);
    if (!to)
        return err_set(err, ERR_FAIL, "out of memory");
    *to = *f;
    return 0;
}

static int add(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct add_opts *o = opts;
    struct forges fs = {0};
    struct forge f = {0};
    int fd = -1;
    int rc = cli_nargs(nargs, 1, "forge add NAME --kind KIND ...", err);
    if (rc == 0)
        rc = from_options(o, args[0], &f, err);
    if (rc == 0)
        rc = forges_open(cli, &fd, &fs, err);
    if (rc == 0)
        rc = put(&fs, &f, o->replace, err);
    if (rc == 0)
        rc = forges_save(fd, &fs, err);
    if (rc == 0)
        cli_say("forge %s: repositories below %s, API at %s", f.name, f.web, f.api);
    forges_close(&fd, &fs);
    return rc;
}

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct forges fs = {0};
    int fd = -1;
    (void)opts;
    int rc = cli_nargs(nargs, 1, "forge rm NAME", err);
    if (rc == 0)
        rc = forges_open(cli, &fd, &fs, err);
    if (rc == 0 && !drop(&fs, args[0]))
        rc = err_set(err, ERR_USAGE, "no forge is called %.64s", args[0]);
    if (rc == 0)
        rc = forges_save(fd, &fs, err);
    forges_close(&fd, &fs);
    return rc;
}

static void ls_json(const struct forges *fs, struct buf *b)
{
    const struct forge *f = fs->list.items;
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "forges", '[');
    for (size_t i = 0; i < fs->list.n; i++) {
        emit_open(b, NULL, '{');
        emit_text(b, "name", f[i].name);
        emit_text(b, "kind", forge_kind_names[f[i].kind]);
        emit_text(b, "web", f[i].web);
        emit_text(b, "api", f[i].api);
        emit_text(b, "app", f[i].app_id);
        emit_text(b, "installation", f[i].installation);
        emit_text(b, "key", f[i].key);
        emit_text(b, "token", f[i].token);
        emit_text(b, "ca_file", f[i].ca_file);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void ls_text(const struct forges *fs, struct buf *b)
{
    const struct forge *f = fs->list.items;
    if (fs->list.n > 0)
        buf_addf(b, "%-14s %-8s %-34s %-14s %s\n", "NAME", "KIND", "REPOSITORIES BELOW",
                 "YOUR TOKEN", "TASK TOKENS BY");
    for (size_t i = 0; i < fs->list.n; i++) {
        buf_addf(b, "%-14s %-8s %-34s %-14s ", f[i].name, forge_kind_names[f[i].kind], f[i].web,
                 f[i].token[0] ? f[i].token : "-");
        if (f[i].app_id[0])
            buf_addf(b, "App %s, key %s\n", f[i].app_id, f[i].key);
        else
            buf_addf(b, "%s\n", f[i].kind == FORGE_GITLAB ? f[i].token : "-");
    }
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ls_opts *o = opts;
    struct forges fs = {0};
    struct buf b;
    int fd = -1;
    (void)args;
    int rc = cli_nargs(nargs, 0, "forge ls takes options only", err);
    if (rc == 0)
        rc = forges_open(cli, &fd, &fs, err);
    if (rc == 0) {
        buf_init(&b, CLI_OUT_MAX);
        if (o->json)
            ls_json(&fs, &b);
        else
            ls_text(&fs, &b);
        if (fs.list.n == 0 && !o->json)
            cli_say("no forge is known: creel forge add NAME --kind github --token SECRET");
        rc = cli_out(&b, err);
        buf_done(&b);
    }
    forges_close(&fd, &fs);
    return rc;
}

static const struct cmd forge_add = {
    .name = "add",
    .args =
        "NAME --kind KIND [--web URL] [--token SECRET] [--app ID --installation N --key SECRET]",
    .summary = "Make a forge known.",
    .help = "SECRET is a name of 'creel secret ls', never a value.\n\n"
            "  creel secret set hub 'cmd:pass show github/token'\n"
            "  creel forge add github --kind github --token hub\n"
            "  creel approve last --pr\n",
    .opts = add_options,
    .opts_size = sizeof(struct add_opts),
    .run = add,
};

static const struct cmd forge_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List the forges.",
    .opts = ls_options,
    .opts_size = sizeof(struct ls_opts),
    .run = ls,
};

static const struct cmd forge_rm = {
    .name = "rm",
    .args = "NAME",
    .summary = "Forget a forge. Its secrets stay.",
    .run = rm,
};

static const struct cmd *const subs[] = {&forge_add, &forge_ls, &forge_rm, NULL};

const struct cmd cmd_forge = {
    .name = "forge",
    .args = "add | ls | rm ...",
    .summary = "Say where your repositories are: GitHub, GitLab, Forgejo.",
    .help = "For pull requests (creel approve --pr), the git broker and tokens of tasks.\n",
    .subs = subs,
};
