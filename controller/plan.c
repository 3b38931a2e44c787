/* The plan, as text. Says what is true now; decides nothing but whether the host's limits suffice. */
#include "controller/plan.h"

#include <string.h>

#include "common/term.h"

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
    const struct host_row *h = p->host;

    label(to, "host");
    buf_addf(to, "%s (%s@%s:%u, %s)\n", h->name, h->user, h->addr, h->port, h->host_key_fpr);
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
    if (p->host->unenforceable) {
        label(to, "not enforced");
        limit_list(p->host->unenforceable, to);
        buf_adds(to, " on this host: ");
        term_line(p->host->unenforceable_why, to);
        buf_addc(to, '\n');
    }
    if (policy->egress.n == 0)
        line(to, "network", "none but loopback");
    else
        lines(to, "network", &policy->egress);
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
    host_lines(p, to);
    limit_lines(p, to);
    buf_done(&words);
}

int plan_check(const struct plan *p, struct err *err)
{
    unsigned over = p->host->unenforceable & ~p->task->policy.allow_unenforced;
    struct buf names, flag;
    int rc;

    if (!over)
        return 0;
    buf_init(&names, 256);
    buf_init(&flag, 256);
    limit_list(over, &names);
    for (int i = 0; i < LIMIT_COUNT; i++)
        if (over & LIMIT_BIT(i))
            buf_addf(&flag, "%s%s", flag.len ? "," : "", limit_names[i]);
    rc = err_set(err, ERR_REFUSED,
                 "host %s cannot enforce %s (%.200s): run elsewhere, or accept that with "
                 "--allow-unenforced %s",
                 p->host->name, buf_str(&names), p->host->unenforceable_why, buf_str(&flag));
    buf_done(&names);
    buf_done(&flag);
    return rc;
}
