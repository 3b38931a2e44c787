/* From words to struct spend: the provider is there, the models have prices, the sums are in range. What a
 * person sees here is what the broker would refuse later, in the middle of a task. */
#include "controller/spend_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/broker/dialect.h"

#define PRICES_FILE "prices.json"

static int load_prices(int dirfd, struct prices **ret, struct err *err)
{
    struct buf b;
    *ret = NULL;
    if (faccessat(dirfd, PRICES_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    buf_init(&b, PRICES_BYTES_MAX);
    int rc = file_read(dirfd, PRICES_FILE, &b, err);
    if (rc == 0)
        rc = prices_parse(b.data, b.len, PRICES_FILE, ret, err);
    buf_done(&b);
    return rc;
}

int spend_books_peek(const struct paths *p, struct spend_books *out, struct err *err)
{
    char dir[PATH_MAX];
    *out = (struct spend_books){0};
    int rc = paths_broker(p, dir, err);
    int fd = rc < 0 ? rc : dir_open(dir, false, true, err);
    if (fd < 0)
        return fd;
    rc = providers_load(fd, &out->providers, err);
    if (rc == 0)
        rc = load_prices(fd, &out->prices, err);
    fd_close(&fd);
    if (rc < 0)
        spend_books_done(out);
    return rc;
}

int spend_books_open(const struct paths *p, struct spend_books *out, struct err *err)
{
    int rc = spend_books_peek(p, out, err);
    if (rc == 0 && out->providers.list.n == 0)
        rc = err_set(
            err, ERR_USAGE,
            "no model provider is configured. Three commands do it: creel secret set openai "
            "REF; creel provider add openai; creel prices import FILE --provider openai");
    else if (rc == 0 && !out->prices)
        rc =
            err_set(err, ERR_USAGE,
                    "there are no prices yet, and a call without a price is refused: "
                    "creel prices import FILE, or creel prices set MODEL --input USD --output USD");
    if (rc < 0)
        spend_books_done(out);
    return rc;
}

void spend_books_done(struct spend_books *b)
{
    providers_done(&b->providers);
    prices_free(b->prices);
    b->prices = NULL;
}

static int choose(const struct spend_books *b, const char *name, const struct provider **ret,
                  struct err *err)
{
    const struct provider *items = b->providers.list.items;
    if (name && name[0]) {
        *ret = providers_find(&b->providers, name);
        if (!*ret)
            return err_set(err, ERR_USAGE,
                           "no provider '%.64s': 'creel provider ls' shows which there are", name);
        return 0;
    }
    if (b->providers.list.n != 1)
        return err_set(err, ERR_USAGE, "%zu providers are configured: say which with --provider",
                       b->providers.list.n);
    *ret = items;
    return 0;
}

static int check_dialect(const struct provider *p, const char *dialect, struct err *err)
{
    if (!dialect || !dialect[0])
        return 0;
    for (int i = 0; i < DIALECT_COUNT; i++)
        if (strcmp(dialect_names[i], dialect) == 0 && (p->dialects & 1u << i))
            return 0;
    return err_set(err, ERR_USAGE, "provider %s is not called in the dialect '%.32s' of this agent",
                   p->name, dialect);
}

static int check_models(const struct spend_books *b, const struct provider *p,
                        const struct strv *models, struct err *err)
{
    for (size_t i = 0; models && i < models->n; i++) {
        if (p->models.n > 0 && !strv_has(&p->models, models->v[i]))
            return err_set(err, ERR_USAGE, "provider %s is not configured for the model '%.64s'",
                           p->name, models->v[i]);
        if (!prices_find(b->prices, models->v[i]))
            return err_set(err, ERR_USAGE,
                           "the model '%.64s' has no price: creel prices set MODEL --input USD "
                           "--output USD (dollars a million tokens)",
                           models->v[i]);
    }
    return 0;
}

static int fill(const struct spend_books *b, const struct spend_wish *w, const struct provider *p,
                struct spend *s, struct err *err)
{
    spend_init(s);
    memcpy(s->provider, p->name, sizeof s->provider);
    s->calls = w->calls ? w->calls : s->calls;
    s->calls_per_minute = w->calls_per_minute ? w->calls_per_minute : s->calls_per_minute;
    s->in_flight = w->in_flight ? w->in_flight : s->in_flight;
    s->output_tokens = w->output_tokens ? w->output_tokens : s->output_tokens;
    s->repeats = w->repeats ? w->repeats : s->repeats;
    memcpy(s->prices_sha256, prices_sha256(b->prices), sizeof s->prices_sha256);
    if ((w->models && strv_copy(&s->models, w->models) < 0) ||
        (w->hosted && strv_copy(&s->hosted_tools, w->hosted) < 0))
        return err_set(err, ERR_FAIL, "out of memory");
    int rc = usd_parse(w->budget, &s->usd_micros, err);
    return rc < 0 ? rc : spend_check(s, err);
}

int spend_plan(const struct spend_books *b, const struct spend_wish *w, struct spend *s,
               struct err *err)
{
    const struct provider *p = NULL;
    if (!w->budget || !w->budget[0])
        return err_set(err, ERR_USAGE,
                       "model calls need a budget: --budget USD, for the whole task");
    int rc = choose(b, w->provider, &p, err);
    if (rc < 0 || !p) /* without an error there is one; so much the analyser cannot see */
        return rc;
    rc = check_dialect(p, w->dialect, err);
    rc = rc < 0 ? rc : check_models(b, p, w->models, err);
    if (rc < 0)
        return rc;
    spend_done(s);
    rc = fill(b, w, p, s, err);
    if (rc < 0)
        spend_done(s);
    return rc;
}

static uint64_t dearer(const struct spend_books *b, const struct spend *s, const char *model,
                       uint64_t bytes, uint64_t most)
{
    const struct price *price = prices_find(b->prices, model);
    uint64_t one = price ? price_bound(price, bytes, s->output_tokens) : 0;
    return one > most ? one : most;
}

uint64_t spend_plan_call(const struct spend_books *b, const struct spend *s, uint64_t bytes)
{
    const struct provider *p = providers_find(&b->providers, s->provider);
    const struct strv *models = s->models.n > 0 || !p ? &s->models : &p->models;
    uint64_t most = 0;
    for (size_t i = 0; i < models->n; i++)
        most = dearer(b, s, models->v[i], bytes, most);
    for (size_t i = 0; models->n == 0 && i < prices_count(b->prices); i++)
        most = dearer(b, s, prices_at(b->prices, i)->model, bytes, most);
    return most;
}
