/* A limit that was met, in words: what `creel logs`, `show` and `review` say, and what the runner's
 * outcome says of the limit that ended an attempt. */
#include "proto/result.h"

#include <inttypes.h>

/* What a limit is called, and what its count counts. No singular: there is nothing to count. */
struct limit_words {
    const char *noun, *one, *many;
};

static const struct limit_words words[LIMIT_COUNT] = {
    [LIMIT_MEM] = {"memory", "process group killed", "process groups killed"},
    [LIMIT_PIDS] = {"process", "fork refused", "forks refused"},
    [LIMIT_CPU] = {"processor", NULL, NULL},
    [LIMIT_WALL] = {"wall", NULL, NULL},
    [LIMIT_DISK] = {"disk", "write refused", "writes refused"},
    [LIMIT_LOG] = {"log", "dropped", "dropped"},
    [LIMIT_CONNS] = {"connection", "connection refused", "connections refused"},
    [LIMIT_SENT] = {"sent", "connection ended", "connections ended"},
    [LIMIT_DNS] = {"dns", "question refused", "questions refused"},
};

static int add_count(const struct limit_hit *h, struct buf *to)
{
    const struct limit_words *w = &words[h->limit];

    if (h->count == 0 || !w->one)
        return 0;
    if (h->limit != LIMIT_LOG)
        return buf_addf(to, ", %" PRIu64 " %s", h->count, h->count == 1 ? w->one : w->many);
    /* the log's count is of bytes */
    if (buf_adds(to, ", ") < 0 || limit_format(LIMIT_LOG, h->count, to) < 0)
        return -1;
    return buf_addf(to, " %s", w->one);
}

int limit_hit_words(const struct limit_hit *h, const struct policy *p, struct buf *to)
{
    enum limit l = (enum limit)h->limit;

    if (buf_addf(to, "%s limit ", words[l].noun) < 0 || limit_format(l, p->limits[l], to) < 0 ||
        buf_adds(to, " reached") < 0)
        return -1;
    if (h->peak > 0 && (buf_adds(to, ", peak ") < 0 || limit_format(l, h->peak, to) < 0))
        return -1;
    return add_count(h, to);
}
