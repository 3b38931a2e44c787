/* The plan, as text. Says what is true now; decides nothing but whether the host's limits suffice. */
#include "controller/plan.h"

#include <string.h>

#include "common/term.h"

#define HOSTS_SHOWN 8

static bool plain_word(const char *w)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:=,+@%";

    return w[0] && strspn(w, plain) == strlen(w);
}

void plan_words(const struct strv *words, struct buf *to)
{
    for (size_t i = 0; i < words->n; i++) {
        const char *w = words->v[i];

        buf_adds(to, i ? " " : "");
        if (plain_word(w)) {
            buf_adds(to, w);
            continue;
        }
        buf_addc(to, '\'');
        for (const char *at = w; *at; at++) {
            if (*at == '\'')
                buf_adds(to, "'\\''");
            else
                buf_addc(to, *at);
        }
        buf_addc(to, '\'');
    }
}

static void label(struct buf *to, const char *name)
{
    buf_addf(to, "  %-14s", name);
}

static void line(struct buf *to, const char *name, const char *text)
{
    label(to, name);
    term_line(text, to);
    buf_addc(to, '\n');
}

static void lines(struct buf *to, const char *name, const struct strv *v)
{
    for (size_t i = 0; i < v->n; i++)
        line(to, i ? "" : name, v->v[i]);
}

static void source_lines(const struct plan *p, struct buf *to)
{
    const struct source *s = p->source;

    line(to, "repository", s->repo);
    label(to, "base");
    buf_addf(to, "%.12s (", s->base);
    term_line(s->base_name, to);
    buf_adds(to, ") ");
    term_line(s->base_subject, to);
    buf_addc(to, '\n');
    if (s->dirty)
        line(to, "", "uncommitted changes stay here: the task starts from the commit");
    line(to, "branch", p->task->branch);
}

static void host_lines(const struct plan *p, struct buf *to)
{
    const struct host_row *h = p->hosts;

    label(to, "host");
    if (p->nhosts == 1) {
        buf_addf(to, "%s (%s@%s:%u, %s)\n", h->name, h->user, h->addr, h->port, h->host_key_fpr);
        return;
    }
    buf_addf(to, "the least busy of %zu that can enforce the limits: ", p->nhosts);
    for (size_t i = 0; i < p->nhosts && i < HOSTS_SHOWN; i++)
        buf_addf(to, "%s%s", i ? ", " : "", h[i].name);
    buf_adds(to, p->nhosts > HOSTS_SHOWN ? ", ...\n" : "\n");
}

static void limit_lines(const struct plan *p, struct buf *to)
{
    const struct policy *policy = &p->task->policy;

    label(to, "limits");
    for (int i = 0; i < LIMIT_COUNT; i++) {
        buf_addf(to, "%s%s ", i ? ", " : "", limit_names[i]);
        limit_format((enum limit)i, policy->limits[i], to);
    }
    buf_addc(to, '\n');
    for (size_t i = 0; i < p->nhosts; i++) {
        const struct host_row *h = &p->hosts[i];

        if (!h->unenforceable)
            continue;
        label(to, "not enforced");
        limit_list(h->unenforceable, to);
        buf_addf(to, " on %s: ", p->nhosts == 1 ? "this host" : h->name);
        term_line(h->unenforceable_why, to);
        buf_addc(to, '\n');
    }
}

/* A rule as typed, and what it means. */
static void rule_text(const struct egress_rule *r, const char *typed, struct buf *to)
{
    term_line(typed, to);
    if (r->kind == EGRESS_PRESET)
        buf_addf(to, "  (preset: what the host's %s is set up to use)", preset_names[r->preset]);
    else if (r->port)
        buf_addf(to, "  (%sport %u)", r->kind == EGRESS_SUFFIX ? "every name below it, " : "",
                 r->port);
    else
        buf_addf(to, "  (%sports 80 and 443)",
                 r->kind == EGRESS_SUFFIX ? "every name below it, " : "");
}

/* What is known of a preset on a host whose runner tells of presets at all. */
static void preset_note(const struct plan *p, const struct egress_rule *r, struct buf *to)
{
    const struct host_row *h = p->hosts;

    if (r->kind == EGRESS_PRESET && p->nhosts == 1 && h->presets && !(h->presets & 1u << r->preset))
        buf_addf(to, "; not set up there when last seen");
}

static void network_lines(const struct plan *p, struct buf *to)
{
    const struct strv *egress = &p->task->policy.egress;

    if (egress->n == 0)
        line(to, "network", "none but loopback");
    for (size_t i = 0; i < egress->n; i++) {
        struct egress_rule rule;

        label(to, i ? "" : "network");
        if (egress_parse(egress->v[i], &rule, NULL) == 0) {
            rule_text(&rule, egress->v[i], to);
            preset_note(p, &rule, to);
        } else {
            term_line(egress->v[i], to);
        }
        buf_addc(to, '\n');
    }
    for (size_t i = 0; egress->n > 0 && i < p->nhosts; i++) {
        if (!p->hosts[i].reach[0])
            continue;
        label(to, "");
        buf_addf(to, "%s lets such names lead into private networks: ", p->hosts[i].name);
        term_line(p->hosts[i].reach, to);
        buf_addc(to, '\n');
    }
}

static void cache_line(const struct task_row *t, struct buf *to)
{
    const struct policy *policy = &t->policy;

    if (!t->cache[0])
        return;
    label(to, "cache");
    buf_adds(to, t->cache);
    if (policy->cache[0])
        buf_addf(to, " (sha256 %.12s...), read-only below its own writes", policy->cache);
    else
        buf_adds(to, ", empty: none was kept on this host yet");
    buf_adds(to, policy->cache_keep ? "; TRUSTED: what it leaves there is kept for later tasks\n"
                                    : "; what it writes there dies with it\n");
}

static void jail_lines(const struct plan *p, struct buf *to)
{
    const struct policy *policy = &p->task->policy;

    if (policy->image[0]) {
        label(to, "image");
        buf_adds(to, policy->image);
        if (p->nhosts == 1 && !store_host_image(p->hosts, policy->image))
            buf_adds(to, "; the host did not have it when last seen");
        buf_addc(to, '\n');
    }
    cache_line(p->task, to);
    if (policy->nested_userns)
        line(to, "namespaces",
             "it may make user namespaces: the agent gets the kernel's namespace and mount code to "
             "attack, which the jail otherwise keeps from it");
}

static void tool_note(const struct plan *p, struct buf *to)
{
    for (size_t i = 0; i < p->nhosts; i++)
        if (!p->task->tool[0] || store_host_tool(&p->hosts[i], p->task->tool))
            return;
    label(to, "");
    buf_addf(to, "%s no '%s' among its tools when last seen (deploy/tools makes them)%s\n",
             p->nhosts == 1 ? "the host had" : "none of the hosts had", p->task->tool,
             p->task->policy.image[0] ? ": it must be in the image" : "");
}

static void agent_lines(const struct plan *p, struct buf *to)
{
    const struct task_row *t = p->task;
    const struct task_file *f = t->files.items;

    if (t->agent[0]) {
        line(to, "agent", t->agent);
        tool_note(p, to);
    }
    for (size_t i = 0; i < t->files.n; i++) {
        label(to, i ? "" : "files");
        buf_adds(to, "~/");
        term_line(f[i].path, to);
        buf_addf(to, "  (%zu lines)\n", f[i].lines.n);
    }
    for (size_t i = 0; i < t->env.n; i++) {
        label(to, i ? "" : "environment");
        term_line(t->env.v[i], to);
        buf_addc(to, '\n');
    }
}

static void names_line(struct buf *to, const char *what, const struct strv *names,
                       const char *otherwise)
{
    label(to, "");
    buf_adds(to, what);
    for (size_t i = 0; i < names->n; i++) {
        buf_adds(to, i ? ", " : "");
        term_line(names->v[i], to);
    }
    buf_addf(to, "%s\n", names->n ? "" : otherwise);
}

/* What the budget is worth: the broker reserves the most that a call can cost before it is made. */
static void price_lines(const struct plan *p, struct buf *to)
{
    const struct spend *s = &p->task->policy.spend;
    uint64_t most = spend_plan_call(p->books, s, SPEND_PLAN_BYTES);

    label(to, "prices");
    buf_addf(to, "as of %s; a call of %u kB may cost at most ", prices_as_of(p->books->prices),
             SPEND_PLAN_BYTES / 1000);
    usd_format(most, to);
    buf_addc(to, '\n');
    if (most > s->usd_micros)
        line(to, "",
             "MORE THAN THE BUDGET: such a call is refused; a higher --budget or a lower "
             "--output-tokens helps");
}

static void spend_lines(const struct plan *p, struct buf *to)
{
    const struct spend *s = &p->task->policy.spend;

    if (!spend_any(s)) {
        line(to, "model calls", "none");
        return;
    }
    label(to, "model calls");
    usd_format(s->usd_micros, to);
    buf_addf(to, " at %s, for the whole task\n", s->provider);
    label(to, "");
    buf_addf(to, "at most %llu calls, %llu a minute, %llu at once, %llu tokens out each\n",
             (unsigned long long)s->calls, (unsigned long long)s->calls_per_minute,
             (unsigned long long)s->in_flight, (unsigned long long)s->output_tokens);
    names_line(to, "models: ", &s->models, "each that the provider has a price for");
    if (s->hosted_tools.n > 0)
        names_line(
            to, "tools that run at the provider, OUTSIDE the egress gate: ", &s->hosted_tools, "");
    if (p->books && p->books->prices)
        price_lines(p, to);
}

static void repo_lines(const struct plan *p, struct buf *to)
{
    static const char *const means[REPO_MODE_COUNT] = {
        [REPO_READ] = "it may read ",
        [REPO_PUSH] = "it may read, and push to its own branch of, ",
        [REPO_TOKEN] = "it gets a short-lived token of its own for ",
    };
    const struct repo_access *repo = &p->task->policy.repo;

    if (repo->mode == REPO_NONE)
        return;
    label(to, "remote");
    buf_adds(to, means[repo->mode]);
    term_line(repo->url, to);
    buf_addc(to, '\n');
}

void plan_text(const struct plan *p, struct buf *to)
{
    struct buf words;

    buf_init(&words, JSON_BYTES_MAX);
    plan_words(&p->task->command, &words);
    buf_addf(to, "plan for task %s\n", p->task->id);
    if (p->task->title[0])
        line(to, "title", p->task->title);
    source_lines(p, to);
    lines(to, "setup", &p->task->setup);
    line(to, "command", buf_str(&words));
    lines(to, "tests", &p->task->tests);
    if (p->task->tests.n == 0)
        line(to, "tests", "none: nothing but the command's exit status will speak for the patch");
    agent_lines(p, to);
    host_lines(p, to);
    spend_lines(p, to);
    repo_lines(p, to);
    limit_lines(p, to);
    network_lines(p, to);
    jail_lines(p, to);
    buf_done(&words);
}

bool plan_host_fits(const struct host_row *h, const struct policy *p)
{
    if (h->unenforceable & ~p->allow_unenforced)
        return false;
    if (p->image[0] && !store_host_image(h, p->image))
        return false;
    for (size_t i = 0; i < p->egress.n; i++) {
        struct egress_rule rule;

        if (egress_parse(p->egress.v[i], &rule, NULL) == 0 && rule.kind == EGRESS_PRESET &&
            !(h->presets & 1u << rule.preset))
            return false;
    }
    return true;
}

int plan_check(const struct plan *p, struct err *err)
{
    const struct host_row *h = p->hosts;
    unsigned over = 0;
    struct buf names, flag;
    int rc;

    for (size_t i = 0; i < p->nhosts; i++) {
        h = &p->hosts[i];
        over = h->unenforceable & ~p->task->policy.allow_unenforced;
        if (!over)
            return 0;
    }
    buf_init(&names, 256);
    buf_init(&flag, 256);
    limit_list(over, &names);
    for (int i = 0; i < LIMIT_COUNT; i++)
        if (over & LIMIT_BIT(i))
            buf_addf(&flag, "%s%s", flag.len ? "," : "", limit_names[i]);
    rc = err_set(err, ERR_REFUSED,
                 "%shost %s cannot enforce %s (%.200s): run elsewhere, or accept that with "
                 "--allow-unenforced %s",
                 p->nhosts > 1 ? "none of the hosts can enforce every limit: " : "", h->name,
                 buf_str(&names), h->unenforceable_why, buf_str(&flag));
    buf_done(&names);
    buf_done(&flag);
    return rc;
}
