/* The judgement at an attempt's end; see outcome.h. It looks only at facts that the warden and the
 * jail's first process reported, never at what the agent printed. */
#include "runner/outcome.h"

#include <inttypes.h>
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

/* `when` says in which phase. What a job writes lies in a tmpfs, whose pages are memory like others:
 * who reads of a memory limit must know. */
static void limit_reason(enum limit l, uint64_t value, uint64_t peak, const char *when, char *out,
                         size_t size)
{
    struct buf limit, at;
    buf_init(&limit, 64);
    buf_init(&at, 64);
    limit_format(l, value, &limit);
    limit_format(l, peak, &at);
    bool mem = l == LIMIT_MEM;
    snprintf(out, size, "%s limit %s reached%s, peak %s%s", mem ? "memory" : "disk",
             buf_str(&limit), when, buf_str(&at),
             mem ? "; files on the attempt's disk count towards it" : "");
    buf_done(&limit);
    buf_done(&at);
}

/* The limit that ended the attempt, with its words; false when none did. */
static bool limit_hit(const struct outcome_facts *f, char *out, size_t size)
{
    const uint64_t *limits = f->task->policy.limits;
    if (f->usage->oom_kills > 0) {
        limit_reason(LIMIT_MEM, limits[LIMIT_MEM], f->usage->mem_peak, "", out, size);
        return true;
    }
    if (f->usage->disk_peak > 0 && f->usage->disk_peak + DISK_SLACK >= limits[LIMIT_DISK]) {
        limit_reason(LIMIT_DISK, limits[LIMIT_DISK], f->usage->disk_peak, "", out, size);
        return true;
    }
    return false;
}

static void wall_reason(const struct outcome_facts *f, char *out, size_t size)
{
    struct buf limit;
    buf_init(&limit, 64);
    limit_format(LIMIT_WALL, f->task->policy.limits[LIMIT_WALL], &limit);
    snprintf(out, size, "wall limit %s reached", buf_str(&limit));
    buf_done(&limit);
}

/* Whatever came before it in the order, an error of ours is not kept quiet. */
static void append_error(const struct outcome_facts *f, char *out, size_t size)
{
    size_t n = strlen(out);
    if (f->error[0])
        text_linef(out + n, size - n, "; %s", f->error);
}

static void append_pids(const struct outcome_facts *f, char *out, size_t size)
{
    size_t n = strlen(out);
    if (f->usage->pids_hits > 0 && n < size)
        snprintf(out + n, size - n, "; pids limit %" PRIu64 " was hit %u times",
                 f->task->policy.limits[LIMIT_PIDS], f->usage->pids_hits);
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
        wall_reason(f, reason, size);
        append_error(f, reason, size);
        return OUTCOME_TIMED_OUT;
    }
    if ((failed || broken) && limit_hit(f, reason, size)) {
        append_error(f, reason, size);
        return OUTCOME_LIMIT;
    }
    if (f->collect_oom) {
        limit_reason(LIMIT_MEM, f->task->policy.limits[LIMIT_MEM], f->collect_mem_peak,
                     " while collecting", reason, size);
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
        append_pids(f, reason, size);
        return OUTCOME_FAILED;
    }
    if (broken) {
        snprintf(reason, size, "the jail's first process ended early (exit %d, signal %d)",
                 f->run_exit, f->run_signal);
        return OUTCOME_ERROR;
    }
    return OUTCOME_SUCCEEDED;
}
