/* creel provider: which model providers there are, whose key is which secret, and what they may cost a
 * day. Writes providers.json, which the broker reads; never sees a key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/broker/dialect.h"
#include "controller/broker/secrets_internal.h"
#include "controller/cli/spend_view.h"
#include "controller/cli/verbs.h"
#include "controller/spend_plan.h"

struct add_opts {
    const char *base_url, *secret, *auth, *day_budget, *day_calls, *ca_file;
    struct strv dialects, models;
};

#define OPTION(flag, KIND, member, what, text)                                           \
    {                                                                                    \
        .name = (flag), .kind = OPT_##KIND, .offset = offsetof(struct add_opts, member), \
        .arg = (what), .help = (text)                                                    \
    }

static const struct opt add_options[] = {
    OPTION("base-url", TEXT, base_url, "URL",
           "https://HOST[:PORT][/PREFIX], what stands before /v1/...; http for this machine only"),
    OPTION("secret", TEXT, secret, "NAME", "the secret that is its key (default: NAME)"),
    OPTION("auth", TEXT, auth, "HOW", "how the key is sent: bearer or x-api-key (default: bearer)"),
    OPTION("dialect", MANY, dialects, "NAME",
           "an API it speaks: responses, chat or messages; may be repeated"),
    OPTION("day-budget", TEXT, day_budget, "USD",
           "for all tasks of one UTC day together (default: 20)"),
    OPTION("day-calls", TEXT, day_calls, "N", "calls of all tasks in one UTC day (default: 5000)"),
    OPTION("model", MANY, models, "NAME",
           "only this model may be asked for; may be repeated (default: each that has a price)"),
    OPTION("ca-file", TEXT, ca_file, "FILE",
           "PEM of further certificate authorities to trust there"),
    {.name = NULL},
};

static int lookup(const char *const *names, const char *flag, const char *word, struct err *err)
{
    struct buf b;
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], word) == 0)
            return i;
    buf_init(&b, 256);
    for (int i = 0; names[i]; i++)
        buf_addf(&b, "%s%s", i ? ", " : "", names[i]);
    int rc = err_set(err, ERR_USAGE, "--%s '%.32s' is none of: %s", flag, word, buf_str(&b));
    buf_done(&b);
    return rc;
}

static int parse_calls(const char *text, uint64_t *ret, struct err *err)
{
    size_t n = strlen(text);
    if (n == 0 || n > 10 || text[strspn(text, "0123456789")])
        return err_set(err, ERR_USAGE, "--day-calls '%.32s' is not a number of calls", text);
    *ret = strtoull(text, NULL, 10);
    return 0;
}

/* False: it does not fit. */
static bool set(char *to, size_t size, const char *from)
{
    return !from || snprintf(to, size, "%s", from) < (int)size;
}

/* As people copy it from a provider's page, "/v1" and a last "/" included. */
static bool set_url(struct provider *p, const char *url)
{
    char text[sizeof p->base_url];
    if (!url)
        return true;
    if (!set(text, sizeof text, url))
        return false;
    size_t n = strlen(text);
    for (int i = 0; i < 2; i++) {
        while (n > 0 && text[n - 1] == '/')
            text[--n] = 0;
        if (i == 0 && n > 3 && strcmp(text + n - 3, "/v1") == 0)
            text[n -= 3] = 0;
    }
    memcpy(p->base_url, text, n + 1);
    return true;
}

static int set_dialects(struct provider *p, const struct strv *names, struct err *err)
{
    p->dialects = names->n > 0 ? 0 : p->dialects;
    for (size_t i = 0; i < names->n; i++) {
        int bit = lookup(dialect_names, "dialect", names->v[i], err);
        if (bit < 0)
            return bit;
        p->dialects |= 1u << bit;
    }
    return 0;
}

static int apply(struct provider *p, const struct add_opts *o, struct err *err)
{
    char ca[PATH_MAX] = "";
    int rc = 0;
    if (o->ca_file && o->ca_file[0] && !realpath(o->ca_file, ca))
        return err_errno(err, ERR_USAGE, "--ca-file %s", o->ca_file);
    if (!set_url(p, o->base_url) || !set(p->secret, sizeof p->secret, o->secret) ||
        !set(p->ca_file, sizeof p->ca_file, o->ca_file ? ca : NULL))
        return err_set(err, ERR_USAGE, "a value is too long");
    if (o->auth && (rc = lookup(provider_auth_names, "auth", o->auth, err)) < 0)
        return rc;
    p->auth = o->auth ? rc : p->auth;
    rc = set_dialects(p, &o->dialects, err);
    if (rc == 0 && o->day_budget)
        rc = usd_parse(o->day_budget, &p->day_usd_micros, err);
    if (rc == 0 && o->day_calls)
        rc = parse_calls(o->day_calls, &p->day_calls, err);
    if (rc == 0 && o->models.n > 0 && strv_copy(&p->models, &o->models) < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    return rc < 0 ? rc : provider_check(p, err);
}

/* The one of that name, or a new one at the end with what is known without saying. */
static struct provider *find_or_add(struct providers *all, const char *name, bool *ret_new)
{
    struct provider *items = all->list.items;
    *ret_new = false;
    for (size_t i = 0; i < all->list.n; i++)
        if (strcmp(items[i].name, name) == 0)
            return &items[i];
    struct provider *p = json_list_push(&all->list, &provider_shape);
    if (!p)
        return NULL;
    *ret_new = true;
    if (!provider_known(name, p)) {
        *p = (struct provider){.day_usd_micros = PROVIDER_DAY_USD, .day_calls = PROVIDER_DAY_CALLS};
        snprintf(p->name, sizeof p->name, "%s", name);
        snprintf(p->secret, sizeof p->secret, "%s", name);
    }
    return p;
}

/* Whether its key can be had, the broker finds out: here it is whether anything was said of it. */
static bool has_secret(int dir, const char *name)
{
    struct secret_refs refs = {0};
    struct err ignored;
    bool has = secret_refs_load(dir, &refs, &ignored) == 0 && secret_refs_find(&refs, name);
    secret_refs_done(&refs);
    return has;
}

static void say_added(const struct provider *p, int dir, bool is_new, bool prices)
{
    struct buf b;
    buf_init(&b, 1024);
    usd_format(p->day_usd_micros, &b);
    cli_say("provider %s %s: %s, key: the secret '%s', at most %s and %llu calls a day", p->name,
            is_new ? "is configured" : "was changed", p->base_url, p->secret, buf_str(&b),
            (unsigned long long)p->day_calls);
    buf_done(&b);
    if (!has_secret(dir, p->secret))
        cli_say("next: creel secret set %s REF", p->secret);
    if (!prices)
        cli_say("next: creel prices import FILE");
}

/* Opens the broker's directory and both lists. */
static int open_books(struct cli *cli, struct paths *p, int *ret_dir, struct spend_books *books,
                      struct err *err)
{
    char dir[PATH_MAX];
    *books = (struct spend_books){0};
    *ret_dir = -1;
    int rc = paths_open(cli->state, false, p, err);
    rc = rc < 0 ? rc : paths_broker(p, dir, err);
    if (rc < 0 || (rc = dir_open(dir, false, true, err)) < 0)
        return rc;
    *ret_dir = rc;
    return spend_books_peek(p, books, err);
}

static void close_books(struct paths *p, int *dir, struct spend_books *books)
{
    spend_books_done(books);
    fd_close(dir);
    if (p->rootfd > 0)
        paths_close(p);
}

static int add(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct add_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct spend_books books = {0};
    bool is_new = false;
    int dir = -1, rc = cli_nargs(nargs, 1, "provider add NAME", err);
    if (rc == 0 && !provider_name_valid(args[0]))
        rc = err_set(err, ERR_USAGE,
                     "'%.64s' is not a name for a provider: lower-case letters, digits and ._-",
                     args[0]);
    rc = rc < 0 ? rc : open_books(cli, &p, &dir, &books, err);
    struct provider *one = rc == 0 ? find_or_add(&books.providers, args[0], &is_new) : NULL;
    if (!one)
        rc = rc < 0 ? rc : err_set(err, ERR_FAIL, "out of memory");
    else if (!one->base_url[0] && !o->base_url)
        rc = err_set(err, ERR_USAGE,
                     "'%.64s' is none that creel knows (openai, anthropic): say --base-url URL and "
                     "--dialect NAME",
                     args[0]);
    rc = rc < 0 ? rc : apply(one, o, err);
    rc = rc < 0 ? rc : providers_save(dir, &books.providers, err);
    if (rc == 0)
        say_added(one, dir, is_new, books.prices != NULL);
    close_books(&p, &dir, &books);
    return rc;
}

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct spend_books books = {0};
    int dir = -1, rc = cli_nargs(nargs, 1, "provider rm NAME", err);
    (void)opts;
    rc = rc < 0 ? rc : open_books(cli, &p, &dir, &books, err);
    struct provider *items = books.providers.list.items;
    size_t i = 0, n = books.providers.list.n;
    while (rc == 0 && i < n && strcmp(items[i].name, args[0]) != 0)
        i++;
    if (rc == 0 && i == n)
        rc = err_set(err, ERR_USAGE,
                     "no provider '%.64s': 'creel provider ls' shows which there are", args[0]);
    if (rc == 0) {
        json_release(&provider_shape, &items[i]);
        memmove(&items[i], &items[i + 1], (n - i - 1) * sizeof *items);
        books.providers.list.n--;
        rc = providers_save(dir, &books.providers, err);
    }
    if (rc == 0)
        cli_say("provider %s is gone: no call is made there any more; its secret stays", args[0]);
    close_books(&p, &dir, &books);
    return rc;
}

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

static void ls_json(const struct providers *all, struct buf *b)
{
    const struct provider *p = all->list.items;
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "providers", '[');
    for (size_t i = 0; i < all->list.n; i++, p++) {
        emit_open(b, NULL, '{');
        emit_text(b, "name", p->name);
        emit_text(b, "base_url", p->base_url);
        emit_text(b, "secret", p->secret);
        emit_text(b, "auth", provider_auth_names[p->auth]);
        emit_open(b, "dialects", '[');
        for (int d = 0; d < DIALECT_COUNT; d++)
            if (p->dialects & 1u << d)
                emit_text(b, NULL, dialect_names[d]);
        emit_close(b, ']');
        emit_uint(b, "day_usd_micros", p->day_usd_micros);
        emit_uint(b, "day_calls", p->day_calls);
        emit_strs(b, "models", &p->models);
        emit_text(b, "ca_file", p->ca_file);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void ls_text(const struct providers *all, struct buf *b)
{
    const struct provider *p = all->list.items;
    if (all->list.n > 0)
        buf_addf(b, "%-14s %-34s %-12s %-22s %12s %9s  %s\n", "NAME", "BASE URL", "SECRET",
                 "DIALECTS", "A DAY", "CALLS", "MODELS");
    for (size_t i = 0; i < all->list.n; i++, p++) {
        char dialects[64] = "";
        for (int d = 0; d < DIALECT_COUNT; d++)
            if (p->dialects & 1u << d)
                snprintf(dialects + strlen(dialects), sizeof dialects - strlen(dialects), "%s%s",
                         dialects[0] ? "," : "", dialect_names[d]);
        buf_addf(b, "%-14s %-34s %-12s %-22s ", p->name, p->base_url, p->secret, dialects);
        spend_usd(p->day_usd_micros, 12, b);
        buf_addf(b, " %9llu  ", (unsigned long long)p->day_calls);
        for (size_t m = 0; m < p->models.n; m++)
            buf_addf(b, "%s%s", m ? "," : "", p->models.v[m]);
        buf_adds(b, p->models.n ? "\n" : "each with a price\n");
    }
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ls_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct spend_books books = {0};
    struct buf b;
    int dir = -1, rc = cli_nargs(nargs, 0, "provider ls takes options only", err);
    (void)args;
    rc = rc < 0 ? rc : open_books(cli, &p, &dir, &books, err);
    buf_init(&b, CLI_OUT_MAX);
    if (rc == 0) {
        if (o->json)
            ls_json(&books.providers, &b);
        else
            ls_text(&books.providers, &b);
        if (books.providers.list.n == 0 && !o->json)
            cli_say("no model provider is configured: creel provider add openai");
        rc = cli_out(&b, err);
    }
    buf_done(&b);
    close_books(&p, &dir, &books);
    return rc;
}

static const struct cmd cmd_provider_add = {
    .name = "add",
    .args = "NAME [--base-url URL] [--secret NAME] [--day-budget USD] ...",
    .summary = "Configure a model provider, or change what is said of one.",
    .help = "creel knows 'openai' and 'anthropic'; of others say --base-url and --dialect. Of one "
            "that\n"
            "is configured already only what you say is changed.\n\n"
            "  creel provider add openai --day-budget 5\n"
            "  creel provider add local --base-url http://127.0.0.1:8080 --dialect chat\n",
    .opts = add_options,
    .opts_size = sizeof(struct add_opts),
    .run = add,
};

static const struct cmd cmd_provider_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List them.",
    .opts = ls_options,
    .opts_size = sizeof(struct ls_opts),
    .run = ls,
};

static const struct cmd cmd_provider_rm = {
    .name = "rm",
    .args = "NAME",
    .summary = "Forget one.",
    .run = rm,
};

static const struct cmd *const subs[] = {&cmd_provider_add, &cmd_provider_ls, &cmd_provider_rm,
                                         NULL};

const struct cmd cmd_provider = {
    .name = "provider",
    .args = "add | ls | rm ...",
    .summary = "Model providers: where tasks' calls go, and what they may cost a day.",
    .help = "A task reaches a provider through the controller alone, which has the key. Three "
            "commands:\n\n"
            "  creel secret set openai 'cmd:pass show openai/key'\n"
            "  creel provider add openai\n"
            "  creel prices import model_prices_and_context_window.json --provider openai\n",
    .subs = subs,
};
