/* creel review: what came back, for a person to decide on. Every byte of the agent's is neutralised
 * wherever it stands among words of ours or goes to a terminal; `--diff` into a file or a pipe is
 * exact. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/term.h"
#include "controller/cli/pager.h"
#include "controller/cli/report.h"
#include "controller/cli/verbs.h"
#include "controller/review.h"
#include "proto/utf8.h"

#define PIECE (64u << 10)

struct review_opts {
    bool json, diff, stat;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct review_opts, json),
     .help = "as one JSON object, without the diff"},
    {.name = "diff",
     .kind = OPT_FLAG,
     .offset = offsetof(struct review_opts, diff),
     .help = "the diff alone; exact bytes unless it goes to a terminal"},
    {.name = "stat",
     .kind = OPT_FLAG,
     .offset = offsetof(struct review_opts, stat),
     .help = "without the diff"},
    {.name = NULL},
};

/* Everything a review is made of. */
struct view {
    const struct review_opts *o;
    const struct paths *p;
    const struct task_row *row;
    struct report report;
    struct review_record record;
    bool have_record, color;
    char problem[ERR_MSG_MAX]; /* why there is no record, when there should be one */
};

/* ---- as JSON ---- */

static void json(const struct view *v, struct buf *b)
{
    struct err ignored = ERR_INIT;
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "task", '{');
    report_row_json(v->row, b);
    report_result_json(&v->report, b);
    emit_close(b, '}');
    if (v->have_record) {
        emit_key(b, "review");
        json_encode(&review_record_shape, &v->record, b, &ignored);
    }
    emit_close(b, '}');
    buf_addc(b, '\n');
}

/* ---- as text ---- */

static void flags_text(const struct view *v, struct buf *b)
{
    const struct import_flag *flags = v->record.flags.items;
    for (size_t i = 0; i < v->record.flags.n; i++) {
        buf_addf(b, "  %s  %-13s ", i == 0 ? "LOOK AT" : "       ", flags[i].kind);
        cli_text(b, flags[i].path);
        buf_adds(b, flags[i].path[0] != '\0' ? ": " : "");
        cli_text(b, flags[i].why);
        buf_addc(b, '\n');
    }
}

static void files_text(const struct view *v, struct buf *b)
{
    const struct import_file *files = v->record.changes.items;
    for (size_t i = 0; i < v->record.changes.n; i++) {
        buf_addf(b, "  %s ", files[i].change);
        if (files[i].binary) {
            buf_adds(b, "       binary ");
        } else {
            buf_addf(b, "%+6d %+6d ", files[i].added, -files[i].removed);
        }
        cli_text(b, files[i].path);
        buf_addc(b, '\n');
    }
}

static void summary_text(const struct view *v, struct buf *b)
{
    const struct import_result *sum = &v->record.summary;
    report_text(&v->report, b);
    if (!v->have_record) {
        buf_adds(b, "  changes   ");
        cli_text(b, v->problem[0] != '\0' ? v->problem : "none: every file is as it was");
        buf_addc(b, '\n');
        return;
    }
    if (sum->refused) {
        buf_adds(b, "  REFUSED   cannot be approved: ");
        cli_text(b, sum->reason);
        buf_addc(b, '\n');
    }
    if (sum->secret[0] != '\0') {
        buf_adds(b, "  SECRET    cannot be approved: ");
        cli_text(b, sum->secret);
        buf_addc(b, '\n');
    }
    buf_addf(b, "  review    %s\n", review_state_names[v->row->review]);
    buf_addf(b, "  changes   %d file%s, %d lines added, %d removed, on %.12s\n", sum->files,
             sum->files == 1 ? "" : "s", sum->added, sum->removed, v->row->base);
    flags_text(v, b);
    files_text(v, b);
}

static void next_text(const struct view *v, struct buf *b)
{
    if (v->row->review == REVIEW_PENDING) {
        buf_addf(b, "\nnext: creel approve %s\n      creel reject %s\n", v->row->id, v->row->id);
    } else if (v->row->review == REVIEW_APPROVED) {
        buf_addf(b, "\napproved: branch %s\n", v->row->branch);
    }
}

/* ---- the diff ---- */

static const char *line_color(char first)
{
    switch (first) {
    case '+':
        return "\033[32m";
    case '-':
        return "\033[31m";
    case '@':
        return "\033[36m";
    case 'd':
        return "\033[1m";
    default:
        return "";
    }
}

/* Colours whole lines of neutralised text; a line that began in an earlier piece keeps its own. */
static void colored(const struct buf *from, bool *at_start, struct buf *to)
{
    const char *at = buf_str(from), *end = at + from->len;
    while (at < end) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const char *stop = nl != NULL ? nl : end;
        if (*at_start) {
            buf_adds(to, line_color(*at));
        }
        buf_add(to, at, (size_t)(stop - at));
        if (nl != NULL) {
            buf_adds(to, "\033[m\n");
        }
        *at_start = nl != NULL;
        at = nl != NULL ? nl + 1 : end;
    }
}

struct diff_out {
    struct pager *pager;
    struct term_filter filter;
    struct buf text, shown;
    bool neutral, color, at_start;
};

static int diff_piece(struct diff_out *d, const uint8_t *bytes, size_t n, struct err *err)
{
    if (!d->neutral) {
        return pager_write(d->pager, bytes, n, err);
    }
    buf_clear(&d->text);
    buf_clear(&d->shown);
    int bad = bytes != NULL ? term_neutral(&d->filter, bytes, n, &d->text)
                            : term_neutral_end(&d->filter, &d->text);
    if (d->color) {
        colored(&d->text, &d->at_start, &d->shown);
    }
    const struct buf *out = d->color ? &d->shown : &d->text;
    if (bad < 0 || out->failed) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    return pager_write(d->pager, out->data, out->len, err);
}

static int diff(const struct view *v, struct pager *pager, bool neutral, struct err *err)
{
    uint8_t bytes[PIECE];
    struct diff_out d = {
        .pager = pager, .neutral = neutral, .color = neutral && v->color, .at_start = true};
    int fd = review_open(v->p, v->row, "patch.diff", err);
    int rc = fd < 0 ? fd : 0;
    buf_init(&d.text, 16 * PIECE);
    buf_init(&d.shown, 128 * PIECE);
    while (rc == 0) {
        ssize_t n = read(fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            rc = err_errno(err, ERR_FAIL, "cannot read patch.diff");
        }
        if (n <= 0) {
            break;
        }
        rc = diff_piece(&d, bytes, (size_t)n, err);
    }
    if (rc == 0 && neutral) {
        rc = diff_piece(&d, NULL, 0, err);
    }
    buf_done(&d.text);
    buf_done(&d.shown);
    fd_close(&fd);
    return rc;
}

/* ---- the whole ---- */

/* A refused patch may be too bad to compare: then there is no diff. */
static bool has_diff(const struct view *v)
{
    return v->have_record && v->record.summary.diff_bytes > 0;
}

static int page(const struct view *v, struct pager *pager, struct err *err)
{
    struct buf b;
    int rc = 0;
    buf_init(&b, CLI_OUT_MAX);
    summary_text(v, &b);
    if (has_diff(v) && !v->o->stat) {
        buf_addc(&b, '\n');
        rc = pager_write(pager, b.data, b.len, err);
        buf_clear(&b);
        if (rc == 0) {
            rc = diff(v, pager, true, err);
        }
    }
    next_text(v, &b);
    if (rc == 0) {
        rc = b.failed ? err_set(err, ERR_FAIL, "out of memory")
                      : pager_write(pager, b.data, b.len, err);
    }
    buf_done(&b);
    return rc;
}

static int print(const struct view *v, struct cli *cli, struct err *err)
{
    struct pager pager;
    if (v->o->json) {
        struct buf b;
        buf_init(&b, CLI_OUT_MAX);
        json(v, &b);
        int rc = cli_out(&b, err);
        buf_done(&b);
        return rc;
    }
    if (v->o->diff && !has_diff(v)) {
        return err_set(err, ERR_USAGE, "task %s has no diff: it changed no file", v->row->id);
    }
    int rc = pager_start(cli, &pager, err);
    if (rc == 0) {
        rc = v->o->diff ? diff(v, &pager, cli->tty_out, err) : page(v, &pager, err);
        if (pager.pid != 0 && rc < 0 && err->msg[0] == '\0') {
            rc = 0; /* they have seen enough */
            *err = ERR_INIT;
        }
        pager_end(&pager);
    }
    return rc;
}

/* Loads what there is. A task that changed nothing has no record, and that is no error. */
static int view_load(struct view *v, struct store *s, struct task_row *row, struct err *err)
{
    struct err why = ERR_INIT;
    if (!row->imported) {
        return review_load(v->p, row, &v->record, err); /* says why there is nothing yet */
    }
    report_load(v->p, s, row, &v->report);
    bool unchanged = v->report.have_result && v->report.result.u.result.commit[0] == '\0';
    if (!unchanged) {
        v->have_record = review_load(v->p, row, &v->record, &why) == 0;
        if (!v->have_record) {
            utf8_copy(v->problem, sizeof(v->problem),
                      row->reason[0] != '\0' ? "could not be imported, see the reason above"
                                             : why.msg);
        }
    }
    return 0;
}

static int review(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct view v = {.o = opts, .color = cli->color};
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct task_row t, shown;
    int rc = cli_nargs(nargs, 1, "review ID", err);
    if (rc == 0 && v.o->json + v.o->diff + v.o->stat > 1) {
        rc = err_set(err, ERR_USAGE, "review one way at a time");
    }
    if (rc == 0) {
        rc = cli_open(cli, &p, &s, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = store_task_get(s, args[0], &t, err);
    if (rc == 0) {
        v.p = &p;
        v.row = &t;
        rc = view_load(&v, s, &t, err);
        shown = t; /* what to type next stands at the end here */
        shown.review = REVIEW_NONE;
        v.report.row = v.o->json ? &t : &shown;
        rc = rc < 0 ? rc : print(&v, cli, err);
        report_done(&v.report);
        review_done(&v.record);
        task_row_done(&t);
    }
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_review = {
    .name = "review",
    .args = "ID [--stat | --diff | --json]",
    .summary = "Look at what came back: tests, flags, files, diff.",
    .help =
        "What the agent wrote is shown with its control characters made visible. On a terminal\n"
        "it goes through $CREEL_PAGER, $GIT_PAGER or less. The exact diff for other programs:\n\n"
        "  creel review ID --diff >patch.diff\n",
    .opts = options,
    .opts_size = sizeof(struct review_opts),
    .run = review,
};
