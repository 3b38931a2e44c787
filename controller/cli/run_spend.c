/* What a task may spend; see run_spend.h. Holds no secret: the broker has those. */
#include "controller/cli/run_spend.h"

#include <string.h>

#include "controller/cli/run_agent.h"

static bool speaks(const struct run_spec *s, const struct agent_profile *p)
{
    return s->agent[0] && p->dialect != AGENT_DIALECT_NONE;
}

/* Without --provider: the only one that is called as this agent calls. */
static const char *only_one(const struct spend_books *b, unsigned dialect)
{
    const struct provider *p = b->providers.list.items, *found = NULL;

    for (size_t i = 0; i < b->providers.list.n; i++)
        if (p[i].dialects & dialect) {
            if (found)
                return "";
            found = &p[i];
        }
    return found ? found->name : "";
}

static int nothing_to_spend(const struct run_spec *s, struct err *err)
{
    if (s->model[0] && !s->agent[0])
        return err_set(err, ERR_USAGE, "--model is for model calls: they need --budget USD too");
    if (s->calls || s->calls_per_minute || s->in_flight || s->output_tokens || s->repeats ||
        s->hosted_tools.n > 0)
        return err_set(err, ERR_USAGE,
                       "--calls, --calls-per-minute, --in-flight, --output-tokens, --repeats and "
                       "--hosted-tool are for model calls: they need --budget USD too");
    return 0;
}

int run_spend(const struct run_spec *s, const struct agent_profile *p, const struct paths *paths,
              struct spend_books *books, struct spend *spend, struct err *err)
{
    struct strv models = {0};
    const char *model = run_agent_model(s, p);
    struct spend_wish wish = {
        .provider = s->provider,
        .budget = s->budget,
        .models = &models,
        .hosted = &s->hosted_tools,
        .calls = (uint64_t)s->calls,
        .calls_per_minute = (uint64_t)s->calls_per_minute,
        .in_flight = (uint64_t)s->in_flight,
        .output_tokens = (uint64_t)s->output_tokens,
        .repeats = (uint64_t)s->repeats,
    };
    int rc;

    if (!speaks(s, p) && !s->provider[0] && !s->budget[0])
        return nothing_to_spend(s, err);
    rc = spend_books_open(paths, books, err);
    if (rc < 0)
        return rc;
    if (speaks(s, p)) {
        wish.dialect = agent_dialect_names[p->dialect];
        if (!s->provider[0])
            wish.provider = only_one(books, 1u << p->dialect);
    }
    if (model[0] && strv_add(&models, model) < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    rc = rc < 0 ? rc : spend_plan(books, &wish, spend, err);
    strv_done(&models);
    return rc;
}
