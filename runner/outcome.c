/* The judgement at an attempt's end; see outcome.h. It looks only at facts that the warden and the
 * jail's first process reported, never at what the agent printed. */
#include "runner/outcome.h"

#include <stdio.h>
#include <string.h>

#include "runner/text.h"

/* A tmpfs is full when not even one more file fits, which is a little before its last byte. */
#define DISK_SLACK (256u << 10)

static bool judged(const struct step_result *s)
{
    return s->kind == STEP_SETUP || s->kind == STEP_COMMAND || s->kind == STEP_TEST;
}

static const struct step_result *first_failed(const struct outcome_facts *f)
{
    for (size_t i = 0; i < f->nsteps; i++) {
        const struct step_result *s = &f->steps[i];
        if (judged(s) && s->ran && (s->exit != 0 || s->signal != 0))
            return s;
    }
    return NULL;
}

/* When the jail's first process ended well, it started every step and said so. */
static const struct step_result *first_unrun(const struct outcome_facts *f)
{
    for (size_t i = 0; i < f->nsteps; i++)
        if (judged(&f->steps[i]) && !f->steps[i].ran)
            return &f->steps[i];
    return NULL;
}

static void step_reason(const struct step_result *s, char *out, size_t size)
{
    if (s->signal)
        text_linef(out, size, "%s '%.120s' was ended by signal %d", step_kind_names[s->kind],
                   s->name, s->signal);
    else
        text_linef(out, size, "%s '%.120s' exited with %d", step_kind_names[s->kind], s->name,
                   s->exit);
}

/* ---- limits ---- */

static bool hit_of(const struct outcome_facts *f, enum limit l, struct limit_hit *out)
{
    const struct warden_usage *u = f->usage;
    *out = (struct limit_hit){.limit = (int)l};
    switch (l) {
    case LIMIT_MEM:
        /* What collects may use more than the job might: its peak only counts where it met a limit. */
        out->peak =
            f->collect_oom && f->collect_mem_peak > u->mem_peak ? f->collect_mem_peak : u->mem_peak;
        out->count = u->oom_kills + f->collect_oom;
        return out->count > 0;
    case LIMIT_PIDS:
        out->peak = u->pids_peak;
        out->count = u->pids_hits;
        return out->count > 0;
    case LIMIT_WALL:
        return f->timed_out;
    case LIMIT_DISK:
        out->peak = u->disk_peak;
        return u->disk_peak > 0 && u->disk_peak + DISK_SLACK >= f->task->policy.limits[l];
    case LIMIT_LOG:
        out->count = f->log_dropped;
        return out->count > 0;
    case LIMIT_CPU: /* slows a job down; nothing is refused */
    case LIMIT_CONNS:
    case LIMIT_SENT:
    case LIMIT_DNS:
    case LIMIT_COUNT:
        break;
    }
    for (size_t i = 0; f->gate && i < f->gate->n; i++) {
        const struct limit_hit *hit = (const struct limit_hit *)f->gate->items + i;
        if (hit->limit == (int)l) {
            *out = *hit;
            return true;
        }
    }
    return false;
}

size_t outcome_hits(const struct outcome_facts *f, struct limit_hit hits[static LIMIT_COUNT])
{
    size_t n = 0;
    for (int l = 0; l < LIMIT_COUNT; l++)
        n += hit_of(f, (enum limit)l, &hits[n]);
    return n;
}

/* Its sentence; false when it was not met. */
static bool hit_words(const struct outcome_facts *f, enum limit l, char *out, size_t size)
{
    struct limit_hit hit;
    struct buf words;
    if (!hit_of(f, l, &hit))
        return false;
    buf_init(&words, size);
    limit_hit_words(&hit, &f->task->policy, &words);
    snprintf(out, size, "%s", buf_str(&words));
    buf_done(&words);
    return true;
}

/* The limit that ended the attempt, with its words; false when none did. */
static bool limit_ended(const struct outcome_facts *f, char *out, size_t size)
{
    return (f->usage->oom_kills > 0 && hit_words(f, LIMIT_MEM, out, size)) ||
           hit_words(f, LIMIT_DISK, out, size);
}

/* Whatever came before it in the order, an error of ours is not kept quiet. */
static void append_error(const struct outcome_facts *f, char *out, size_t size)
{
    size_t n = strlen(out);
    if (f->error[0])
        text_linef(out + n, size - n, "; %s", f->error);
}

/* What was refused to a job may be why it failed. */
static void append_refused(const struct outcome_facts *f, char *out, size_t size)
{
    static const enum limit refusing[] = {LIMIT_PIDS, LIMIT_CONNS, LIMIT_SENT, LIMIT_DNS};
    for (size_t i = 0; i < sizeof refusing / sizeof *refusing; i++) {
        char words[160];
        size_t n = strlen(out);
        if (hit_words(f, refusing[i], words, sizeof words))
            snprintf(out + n, size - n, "; %s", words);
    }
}

enum outcome outcome_judge(const struct outcome_facts *f, char reason[static OUTCOME_REASON_SIZE])
{
    const size_t size = OUTCOME_REASON_SIZE;
    const struct step_result *failed = first_failed(f);
    const struct step_result *unrun = first_unrun(f);
    bool broken = f->error[0] || f->run_exit != 0 || f->run_signal != 0;
    reason[0] = 0;
    if (f->cancelled) {
        snprintf(reason, size, "cancelled by the operator");
        append_error(f, reason, size);
        return OUTCOME_CANCELLED;
    }
    if (f->timed_out) {
        hit_words(f, LIMIT_WALL, reason, size);
        append_error(f, reason, size);
        return OUTCOME_TIMED_OUT;
    }
    if ((failed || broken) && limit_ended(f, reason, size)) {
        append_error(f, reason, size);
        return OUTCOME_LIMIT;
    }
    if (f->collect_oom) {
        hit_words(f, LIMIT_MEM, reason, size);
        snprintf(reason + strlen(reason), size - strlen(reason), ", while collecting");
        append_error(f, reason, size);
        return OUTCOME_LIMIT;
    }
    if (f->error[0]) {
        text_line(reason, size, f->error, strlen(f->error));
        return OUTCOME_ERROR;
    }
    if (!broken && unrun) {
        text_linef(reason, size, "the jail ended well, but %s '%.120s' never ran",
                   step_kind_names[unrun->kind], unrun->name);
        return OUTCOME_ERROR;
    }
    if (failed) {
        step_reason(failed, reason, size);
        append_refused(f, reason, size);
        return OUTCOME_FAILED;
    }
    if (broken) {
        snprintf(reason, size, "the jail's first process ended early (exit %d, signal %d)",
                 f->run_exit, f->run_signal);
        return OUTCOME_ERROR;
    }
    return OUTCOME_SUCCEEDED;
}
