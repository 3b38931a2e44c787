/* creel prices: the operator's own table of what models cost. No price is shipped: public tables disagree,
 * and a call without a price is refused. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/sha256.h"
#include "controller/cli/pager.h"
#include "controller/cli/spend_view.h"
#include "controller/cli/verbs.h"
#include "controller/spend_plan.h"
#include "proto/rfc3339.h"

/* The table, opened to be changed. */
struct table {
    struct paths p;
    int dir;
    struct prices *old; /* NULL: there is none */
    struct price *models;
    size_t n;
};

static int table_open(struct cli *cli, struct table *t, size_t more, struct err *err)
{
    struct spend_books books = {0};
    char dir[PATH_MAX];
    *t = (struct table){.p = {.rootfd = -1}, .dir = -1};
    int rc = paths_open(cli->state, false, &t->p, err);
    rc = rc < 0 ? rc : paths_broker(&t->p, dir, err);
    if (rc < 0 || (rc = dir_open(dir, false, true, err)) < 0)
        return rc;
    t->dir = rc;
    rc = spend_books_peek(&t->p, &books, err);
    if (rc < 0)
        return rc;
    t->old = books.prices;
    books.prices = NULL;
    spend_books_done(&books);
    t->models = calloc((t->old ? prices_count(t->old) : 0) + more + 1, sizeof *t->models);
    if (!t->models)
        return err_set(err, ERR_FAIL, "out of memory");
    for (; t->old && t->n < prices_count(t->old); t->n++)
        t->models[t->n] = *prices_at(t->old, t->n);
    return 0;
}

static void table_close(struct table *t)
{
    prices_free(t->old);
    free(t->models);
    fd_close(&t->dir);
    if (t->p.rootfd > 0)
        paths_close(&t->p);
}

/* In the place of one of that name, or as a new one. There is room: table_open made it. */
static void table_put(struct table *t, const struct price *p)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->models[i].model, p->model) == 0) {
            t->models[i] = *p;
            return;
        }
    }
    t->models[t->n++] = *p;
}

static int by_model(const void *a, const void *b)
{
    return strcmp(((const struct price *)a)->model, ((const struct price *)b)->model);
}

/* Read back before it is written: what the broker could not read is never put in its place. */
static int table_save(struct table *t, const char *as_of, const char *source, struct err *err)
{
    struct prices *check = NULL;
    struct buf b;
    buf_init(&b, PRICES_BYTES_MAX);
    qsort(t->models, t->n, sizeof *t->models, by_model);
    int rc = prices_encode(as_of, source, t->models, t->n, &b, err);
    rc = rc < 0 ? rc : prices_parse(b.data, b.len, "prices", &check, err);
    rc = rc < 0 ? rc : file_replace(t->dir, "prices.json", b.data, b.len, 0600, err);
    prices_free(check);
    buf_done(&b);
    return rc;
}

static void date_of(uint64_t unix_s, char out[static DATE_SIZE])
{
    char text[RFC3339_SIZE];
    rfc3339_format(unix_s, text);
    snprintf(out, DATE_SIZE, "%.10s", text);
}

/* ---- import ---- */

struct import_opts {
    const char *provider, *as_of;
    bool replace;
};

static const struct opt import_options[] = {
    {.name = "provider",
     .kind = OPT_TEXT,
     .offset = offsetof(struct import_opts, provider),
     .arg = "NAME",
     .help = "only models of this one, as LiteLLM calls it (default: all)"},
    {.name = "as-of",
     .kind = OPT_TEXT,
     .offset = offsetof(struct import_opts, as_of),
     .arg = "DATE",
     .help = "the day the prices are of, as 2026-11-23 (default: the file's own date)"},
    {.name = "replace",
     .kind = OPT_FLAG,
     .offset = offsetof(struct import_opts, replace),
     .help = "forget the prices there were (default: keep those of other models)"},
    {.name = NULL},
};

static void default_date(const char *file, char out[static DATE_SIZE])
{
    struct stat st;
    bool known = strcmp(file, "-") != 0 && stat(file, &st) == 0 && S_ISREG(st.st_mode);
    date_of(known && st.st_mtime > 0 ? (uint64_t)st.st_mtime : clock_wall_s(), out);
}

/* LiteLLM's table in `file`, as prices. */
static int read_table(const char *file, const struct import_opts *o, const char *as_of,
                      struct prices **ret, struct err *err)
{
    struct buf in, out;
    size_t n = 0;
    buf_init(&in, PRICES_BYTES_MAX);
    buf_init(&out, PRICES_BYTES_MAX);
    int rc = cli_read(file, &in, err);
    if (rc == 0 && prices_from_litellm(in.data, in.len, o->provider, as_of, &out, &n, err) < 0)
        rc = err_wrap(err, "%s", file);
    rc = rc < 0 ? rc : prices_parse(out.data, out.len, file, ret, err);
    buf_done(&in);
    buf_done(&out);
    return rc;
}

static int import(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct import_opts *o = opts;
    struct table t = {.p = {.rootfd = -1}, .dir = -1};
    struct prices *new = NULL;
    char date[DATE_SIZE];
    int rc = cli_nargs(nargs, 1, "prices import FILE", err);
    if (rc < 0)
        return rc;
    default_date(args[0], date);
    const char *as_of = o->as_of ? o->as_of : date;
    rc = read_table(args[0], o, as_of, &new, err);
    rc = rc < 0 ? rc : table_open(cli, &t, prices_count(new), err);
    if (rc == 0 && o->replace)
        t.n = 0;
    for (size_t i = 0; rc == 0 && i < prices_count(new); i++)
        table_put(&t, prices_at(new, i));
    rc = rc < 0 ? rc : table_save(&t, as_of, prices_source(new), err);
    if (rc == 0)
        cli_say("%zu prices imported, as of %s; %zu models have one now. Look at those you use: "
                "creel prices ls MODEL",
                prices_count(new), as_of, t.n);
    prices_free(new);
    table_close(&t);
    return rc;
}

/* ---- set, rm ---- */

struct set_opts {
    const char *input, *output, *cache_read, *cache_write, *cache_write_1h;
};

#define OPTION(flag, member, text)                                                     \
    {                                                                                  \
        .name = (flag), .kind = OPT_TEXT, .offset = offsetof(struct set_opts, member), \
        .arg = "USD", .help = (text)                                                   \
    }

static const struct opt set_options[] = {
    OPTION("input", input, "dollars a million tokens in"),
    OPTION("output", output, "dollars a million tokens out"),
    OPTION("cache-read", cache_read, "read from the provider's cache (default: as input)"),
    OPTION("cache-write", cache_write, "written to it (default: twice input)"),
    OPTION("cache-write-1h", cache_write_1h, "written for an hour (default: twice input)"),
    {.name = NULL},
};

static int take_rate(const char *flag, const char *text, uint64_t *to, struct err *err)
{
    if (!text)
        return 0;
    int rc = usd_parse(text, to, err);
    return rc < 0 ? err_wrap(err, "--%s", flag) : 0;
}

static int take_price(const char *model, const struct set_opts *o, struct price *p, struct err *err)
{
    *p = (struct price){0};
    if (!model_name_valid(model) || strlen(model) >= sizeof p->model)
        return err_set(err, ERR_USAGE, "'%.64s' is not the name of a model", model);
    if (!o->input || !o->output)
        return err_set(err, ERR_USAGE, "say --input USD and --output USD, a million tokens each");
    memcpy(p->model, model, strlen(model));
    struct rates *r = &p->rates;
    int rc = take_rate("input", o->input, &r->input, err);
    rc = rc < 0 ? rc : take_rate("output", o->output, &r->output, err);
    rc = rc < 0 ? rc : take_rate("cache-read", o->cache_read, &r->cache_read, err);
    rc = rc < 0 ? rc : take_rate("cache-write", o->cache_write, &r->cache_write, err);
    return rc < 0 ? rc : take_rate("cache-write-1h", o->cache_write_1h, &r->cache_write_1h, err);
}

static int set(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct table t = {.p = {.rootfd = -1}, .dir = -1};
    struct price price;
    char today[DATE_SIZE];
    int rc = cli_nargs(nargs, 1, "prices set MODEL", err);
    rc = rc < 0 ? rc : take_price(args[0], opts, &price, err);
    rc = rc < 0 ? rc : table_open(cli, &t, 1, err);
    if (rc == 0) {
        date_of(clock_wall_s(), today);
        table_put(&t, &price);
        rc = table_save(&t, t.old ? prices_as_of(t.old) : today,
                        t.old ? prices_source(t.old) : "typed by the operator", err);
    }
    if (rc == 0)
        cli_say("price of %s is set; a running task that was planned before keeps what it has, one "
                "that is queued must be submitted again",
                args[0]);
    table_close(&t);
    return rc;
}

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct table t = {.p = {.rootfd = -1}, .dir = -1};
    size_t i = 0;
    int rc = cli_nargs(nargs, 1, "prices rm MODEL", err);
    (void)opts;
    rc = rc < 0 ? rc : table_open(cli, &t, 0, err);
    while (rc == 0 && i < t.n && strcmp(t.models[i].model, args[0]) != 0)
        i++;
    if (rc == 0 && i == t.n)
        rc = err_set(err, ERR_USAGE, "'%.64s' has no price", args[0]);
    if (rc == 0) {
        t.models[i] = t.models[--t.n];
        rc = table_save(&t, prices_as_of(t.old), prices_source(t.old), err);
    }
    if (rc == 0)
        cli_say("%s has no price any more: a call for it is refused", args[0]);
    table_close(&t);
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
     .help = "as one JSON object, micro-dollars a million tokens"},
    {.name = NULL},
};

static void rates_json(const struct rates *r, struct buf *b)
{
    emit_uint(b, "input", r->input);
    emit_uint(b, "output", r->output);
    emit_uint(b, "cache_read", r->cache_read);
    emit_uint(b, "cache_write", r->cache_write);
    emit_uint(b, "cache_write_1h", r->cache_write_1h);
}

static void price_json(const struct price *p, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_text(b, "model", p->model);
    rates_json(&p->rates, b);
    emit_open(b, "tiers", '[');
    for (size_t i = 0; i < p->ntiers; i++) {
        emit_open(b, NULL, '{');
        emit_uint(b, "above_tokens", p->tiers[i].above_tokens);
        rates_json(&p->tiers[i].rates, b);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
}

static void ls_json(const struct prices *p, const char *like, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_text(b, "as_of", prices_as_of(p));
    emit_text(b, "source", prices_source(p));
    emit_hex(b, "sha256", prices_sha256(p), SHA256_BYTES);
    emit_open(b, "models", '[');
    for (size_t i = 0; i < prices_count(p); i++)
        if (strstr(prices_at(p, i)->model, like))
            price_json(prices_at(p, i), b);
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void rates_text(const char *name, const struct rates *r, struct buf *b)
{
    const uint64_t rates[] = {r->input, r->output, r->cache_read, r->cache_write,
                              r->cache_write_1h};
    buf_addf(b, "%-40s", name);
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        buf_addc(b, ' ');
        spend_usd(rates[i], 11, b);
    }
    buf_addc(b, '\n');
}

static size_t ls_text(const struct prices *p, const char *like, struct buf *b)
{
    char hex[65], name[48];
    size_t found = 0;
    sha256_hex(prices_sha256(p), hex);
    buf_addf(b, "as of %s, %s, sha256 %.16s, dollars a million tokens\n", prices_as_of(p),
             prices_source(p)[0] ? prices_source(p) : "source unsaid", hex);
    buf_addf(b, "%-40s %11s %11s %11s %11s %11s\n", "MODEL", "INPUT", "OUTPUT", "CACHE READ",
             "WRITE", "WRITE 1H");
    for (size_t i = 0; i < prices_count(p); i++) {
        const struct price *m = prices_at(p, i);
        if (!strstr(m->model, like))
            continue;
        found++;
        rates_text(m->model, &m->rates, b);
        for (size_t k = 0; k < m->ntiers; k++) {
            snprintf(name, sizeof name, "  above %llu tokens in",
                     (unsigned long long)m->tiers[k].above_tokens);
            rates_text(name, &m->tiers[k].rates, b);
        }
    }
    return found;
}

static int print(struct cli *cli, const struct prices *p, bool json, const char *like,
                 struct err *err)
{
    struct pager pager;
    struct buf b;
    size_t found = 1;
    buf_init(&b, CLI_OUT_MAX);
    if (json)
        ls_json(p, like, &b);
    else
        found = ls_text(p, like, &b);
    int rc = 0;
    if (found == 0)
        rc = err_set(err, ERR_USAGE,
                     "no model's name holds '%.64s': creel prices set MODEL --input USD --output "
                     "USD",
                     like);
    else if (json || found < 20)
        rc = cli_out(&b, err);
    else if ((rc = pager_start(cli, &pager, err)) == 0) {
        rc = pager_write(&pager, b.data, b.len, err);
        pager_end(&pager);
    }
    buf_done(&b);
    return rc;
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ls_opts *o = opts;
    struct table t = {.p = {.rootfd = -1}, .dir = -1};
    int rc = nargs > 1 ? cli_nargs(nargs, 1, "prices ls [MODEL]", err) : 0;
    rc = rc < 0 ? rc : table_open(cli, &t, 0, err);
    if (rc == 0 && !t.old)
        rc = err_set(err, ERR_USAGE,
                     "there are no prices yet: creel prices import FILE, or creel prices set MODEL "
                     "--input USD --output USD");
    rc = rc < 0 ? rc : print(cli, t.old, o->json, nargs ? args[0] : "", err);
    table_close(&t);
    return rc;
}

static const struct cmd cmd_prices_import = {
    .name = "import",
    .args = "FILE [--provider NAME] [--as-of DATE] [--replace]",
    .summary = "Take prices from LiteLLM's public table ('-': stdin).",
    .help =
        "FILE is model_prices_and_context_window.json of the LiteLLM project. Prices are read\n"
        "digit by digit and rounded up. Models that cost nothing there, or whose price depends\n"
        "on more than tokens, are left out. Compare with your provider's page before you trust\n"
        "it: public tables disagree.\n",
    .opts = import_options,
    .opts_size = sizeof(struct import_opts),
    .run = import,
};

static const struct cmd cmd_prices_set = {
    .name = "set",
    .args = "MODEL --input USD --output USD [--cache-read USD] ...",
    .summary = "Set the price of one model, in dollars a million tokens.",
    .help =
        "  creel prices set gpt-5.5 --input 1.25 --output 10 --cache-read 0.125 --cache-write 1.25 "
        "--cache-write-1h 1.25\n",
    .opts = set_options,
    .opts_size = sizeof(struct set_opts),
    .run = set,
};

static const struct cmd cmd_prices_ls = {
    .name = "ls",
    .args = "[MODEL] [--json]",
    .summary = "Show prices, of models whose name holds MODEL.",
    .opts = ls_options,
    .opts_size = sizeof(struct ls_opts),
    .run = ls,
};

static const struct cmd cmd_prices_rm = {
    .name = "rm",
    .args = "MODEL",
    .summary = "Forget the price of one model.",
    .run = rm,
};

static const struct cmd *const subs[] = {&cmd_prices_import, &cmd_prices_ls, &cmd_prices_set,
                                         &cmd_prices_rm, NULL};

const struct cmd cmd_prices = {
    .name = "prices",
    .args = "import | ls | set | rm ...",
    .summary = "What models cost: your own table, without which no call is made.",
    .help =
        "The table's digest is signed with each task and stands in its result. A task that was\n"
        "planned with another table than the one that is there is refused.\n",
    .subs = subs,
};
