/* Reading and writing what stands in pkt-lines of a push. */
#include "controller/broker/git_push.h"

#include <stdio.h>
#include <string.h>

/* ---- packets */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int pkt_take(const uint8_t *bytes, size_t len, struct pkt *ret, size_t *ret_used)
{
    size_t n = 0;

    for (size_t i = 0; i < 4 && i < len; i++) {
        int digit = hex_digit(bytes[i]);
        if (digit < 0)
            return -1;
        n = n << 4 | (size_t)digit;
    }
    if (len < 4)
        return 0;
    if ((n > 0 && n < 4) || n > PKT_MAX)
        return -1;
    *ret = (struct pkt){.flush = n == 0};
    if (n == 0) {
        *ret_used = 4;
        return 1;
    }
    if (len < n)
        return 0;
    ret->p = bytes + 4;
    ret->n = n - 4;
    *ret_used = n;
    return 1;
}

int pkt_put(struct buf *to, const void *bytes, size_t n)
{
    buf_addf(to, "%04zx", n + 4);
    return buf_add(to, bytes, n);
}

int pkt_puts(struct buf *to, const char *text)
{
    return pkt_put(to, text, strlen(text));
}

int pkt_flush(struct buf *to)
{
    return buf_adds(to, "0000");
}

/* ---- commands */

/* How many digits of an object name stand at p; 40 or 64 is one. */
static size_t oid_digits(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n && ((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
        i++;
    return i;
}

static bool oid_length(size_t digits)
{
    return digits == 40 || digits == 64;
}

static bool ref_plain(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= ' ' || p[i] == 0x7f)
            return false;
    }
    return n > 0;
}

/* "old new ref", without what stands behind a NUL. */
static const char *parse_command(const uint8_t *p, size_t n, struct git_command *c)
{
    size_t digits = oid_digits(p, n), ref;

    if (!oid_length(digits) || n < 2 * digits + 3 || p[digits] != ' ' ||
        oid_digits(p + digits + 1, n - digits - 1) != digits || p[2 * digits + 1] != ' ')
        return "is not a list of commands";
    ref = 2 * digits + 2;
    if (n - ref >= sizeof(c->ref) || !ref_plain(p + ref, n - ref))
        return "names a ref that is too long or not of plain characters";
    memcpy(c->old, p, digits);
    memcpy(c->new, p + digits + 1, digits);
    c->old[digits] = c->new[digits] = 0;
    memcpy(c->ref, p + ref, n - ref);
    c->ref[n - ref] = 0;
    return NULL;
}

static bool word_is(const uint8_t *p, size_t n, const char *name)
{
    return n == strlen(name) && memcmp(p, name, n) == 0;
}

/* As git reads them: any white space parts two, and "name=value" has the name, too. */
static void parse_capabilities(const uint8_t *p, size_t n, struct git_push *out)
{
    for (size_t i = 0; i < n;) {
        size_t from = i, name;

        while (i < n && p[i] && !strchr(" \t\n\r", p[i]))
            i++;
        for (name = from; name < i && p[name] != '=';)
            name++;
        name -= from;
        if (word_is(p + from, name, "report-status") || word_is(p + from, name, "report-status-v2"))
            out->report = true;
        if (word_is(p + from, name, "side-band-64k"))
            out->side_band = true;
        if (word_is(p + from, name, "push-options"))
            out->options = true;
        i++;
    }
}

static bool begins(const struct pkt *line, const char *text)
{
    size_t n = strlen(text);

    return line->n >= n && memcmp(line->p, text, n) == 0;
}

/* NULL, or what is wrong with it. */
static const char *parse_line(const struct pkt *line, struct git_push *out)
{
    const uint8_t *nul = line->n > 0 ? memchr(line->p, 0, line->n) : NULL;
    size_t n = nul ? (size_t)(nul - line->p) : line->n;
    const char *why;

    if (begins(line, "shallow "))
        return "comes from a shallow repository";
    if (begins(line, "push-cert"))
        return "brings a certificate";
    if (out->n == GIT_COMMANDS_MAX)
        return "names too many refs at once";
    if (nul && out->n > 0)
        return "is not a list of commands";
    if (nul)
        parse_capabilities(nul + 1, line->n - n - 1, out);
    if (n > 0 && line->p[n - 1] == '\n')
        n--;
    why = parse_command(line->p, n, &out->commands[out->n]);
    if (!why)
        out->n++;
    return why;
}

int git_push_parse(const uint8_t *bytes, size_t len, struct git_push *out, size_t *ret_used,
                   const char **ret_why)
{
    size_t at = 0, used;
    struct pkt line;
    int rc;

    *out = (struct git_push){0};
    while ((rc = pkt_take(bytes + at, len - at, &line, &used)) > 0) {
        at += used;
        if (line.flush) {
            *ret_used = at;
            return 1;
        }
        *ret_why = parse_line(&line, out);
        if (*ret_why)
            return -1;
    }
    *ret_why = "is not a list of commands";
    if (rc == 0 && len >= GIT_COMMAND_BYTES)
        *ret_why = "has too long a list of commands";
    return rc < 0 || len >= GIT_COMMAND_BYTES ? -1 : 0;
}

bool git_oid_none(const char *oid)
{
    return oid[strspn(oid, "0")] == 0;
}

int git_push_judge(const struct git_push *push, const char *branch, const char *tip,
                   struct err *err)
{
    const struct git_command *c = &push->commands[0];

    for (size_t i = 0; i < push->n; i++) {
        const char *ref = push->commands[i].ref;
        if (strncmp(ref, "refs/heads/", 11) != 0 || strcmp(ref + 11, branch) != 0)
            return err_set(err, ERR_REFUSED, "only branch %s may be pushed", branch);
    }
    if (push->n != 1)
        return err_set(err, ERR_REFUSED, "one ref at a time");
    if (push->options)
        return err_set(err, ERR_REFUSED, "push options are not passed on");
    if (git_oid_none(c->new))
        return err_set(err, ERR_REFUSED, "the branch may not be deleted");
    if (!tip[0])
        return err_set(err, ERR_REFUSED, "where the branch stands is not known; push again");
    if (git_oid_none(tip) ? !git_oid_none(c->old) : strcmp(tip, c->old) != 0)
        return err_set(err, ERR_REFUSED,
                       "the branch does not stand where this task left it: somebody else pushed");
    if (!push->report) /* what became of the branch would not be known */
        return err_set(err, ERR_REFUSED, "a push must ask for a report-status");
    return 0;
}

/* ---- reports */

int git_push_refusal(const struct git_push *push, const char *why, struct buf *to)
{
    char line[GIT_REF_SIZE + 256];
    struct buf report;
    int rc;

    buf_init(&report, (GIT_COMMANDS_MAX + 2) * sizeof(line));
    pkt_puts(&report, "unpack ok\n");
    for (size_t i = 0; i < push->n; i++) {
        snprintf(line, sizeof(line), "ng %s creel: not allowed: %.200s\n", push->commands[i].ref,
                 why);
        pkt_puts(&report, line);
    }
    pkt_flush(&report);
    if (!push->side_band) {
        buf_add(to, report.data, report.len);
    } else {
        buf_addf(to, "%04zx\1", report.len + 5); /* 64 lines of 512 bytes are one packet */
        buf_add(to, report.data, report.len);
        pkt_flush(to);
    }
    rc = report.failed || to->failed ? -1 : 0;
    buf_done(&report);
    return rc;
}

static bool report_says(const uint8_t *bytes, size_t len, const char *ref)
{
    size_t at = 0, used, n = strlen(ref);
    struct pkt line;

    while (pkt_take(bytes + at, len - at, &line, &used) > 0 && !line.flush) {
        at += used;
        if (line.n > 0 && line.p[line.n - 1] == '\n')
            line.n--;
        if (line.n == n + 3 && memcmp(line.p, "ok ", 3) == 0 && memcmp(line.p + 3, ref, n) == 0)
            return true;
    }
    return false;
}

bool git_push_taken(const uint8_t *bytes, size_t len, const struct git_push *push, const char *ref)
{
    size_t at = 0, used;
    struct buf inner;
    struct pkt line;
    bool taken;

    if (!push->side_band)
        return report_says(bytes, len, ref);
    buf_init(&inner, len);
    while (pkt_take(bytes + at, len - at, &line, &used) > 0 && !line.flush) {
        at += used;
        if (line.n > 1 && line.p[0] == 1)
            buf_add(&inner, line.p + 1, line.n - 1);
    }
    taken = report_says(inner.data, inner.len, ref);
    buf_done(&inner);
    return taken;
}

/* ---- where a branch stands */

void git_tips_init(struct git_tips *t, const char *branch)
{
    *t = (struct git_tips){0};
    buf_init(&t->in, 2 * PKT_MAX);
    snprintf(t->ref, sizeof(t->ref), "refs/heads/%s", branch);
}

void git_tips_done(struct git_tips *t)
{
    buf_done(&t->in);
}

static void tips_line(struct git_tips *t, const struct pkt *line)
{
    const uint8_t *nul = line->n > 0 ? memchr(line->p, 0, line->n) : NULL;
    size_t n = nul ? (size_t)(nul - line->p) : line->n, digits = oid_digits(line->p, n);

    if (line->flush) {
        t->flushes++;
        return;
    }
    if (t->flushes == 0) /* "# service=.." */
        return;
    if (n > 0 && line->p[n - 1] == '\n')
        n--;
    if (!oid_length(digits) || n < digits + 2 || line->p[digits] != ' ') {
        t->broken |= !begins(line, "shallow ") && !begins(line, "version ");
        return;
    }
    t->digits = digits;
    if (n - digits - 1 != strlen(t->ref) ||
        memcmp(line->p + digits + 1, t->ref, n - digits - 1) != 0)
        return;
    memcpy(t->tip, line->p, digits);
    t->tip[digits] = 0;
}

void git_tips_feed(struct git_tips *t, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    struct pkt line;
    size_t used;
    int rc = 1;

    while (n > 0 && !t->broken && t->flushes < 2) {
        size_t some = t->in.max - t->in.len < n ? t->in.max - t->in.len : n;
        size_t at = 0;

        if (buf_add(&t->in, from, some) < 0)
            t->broken = true;
        from += some;
        n -= some;
        while (t->flushes < 2 &&
               (rc = pkt_take(t->in.data + at, t->in.len - at, &line, &used)) > 0) {
            tips_line(t, &line);
            at += used;
        }
        buf_drop(&t->in, at);
        t->broken |= rc < 0;
    }
}

bool git_tips_end(const struct git_tips *t, char ret_tip[static GIT_OID_SIZE])
{
    if (t->broken || t->flushes != 2 || t->digits == 0)
        return false;
    if (t->tip[0]) {
        memcpy(ret_tip, t->tip, GIT_OID_SIZE);
    } else {
        memset(ret_tip, '0', t->digits);
        ret_tip[t->digits] = 0;
    }
    return true;
}
