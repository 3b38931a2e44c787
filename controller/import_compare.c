/* The diff between what was sent and what came back: patch.diff for a person, the list of files,
 * and the flags. Bytes of the agent's go into patch.diff as they are; whoever prints them
 * neutralises them. */
#include "controller/import.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/term.h"
#include "proto/utf8.h"

#define LARGE_BYTES   (5u << 20)
#define OMITTED_LINES 32

struct compare {
    struct import *im;
    int fd;
    struct buf out; /* of patch.diff, written in pieces */
    uint64_t written;
    bool cut;           /* patch.diff has reached its limit */
    const char *secret; /* what the file being printed seems to hold */
    struct err err;     /* of a callback */
};

static int flush_out(struct compare *c, struct err *err)
{
    if (write_all(c->fd, c->out.data, c->out.len) < 0) {
        return err_errno(err, ERR_FAIL, "cannot write " IMPORT_DIFF);
    }
    buf_clear(&c->out);
    return 0;
}

/* git_patch_print's callback: one line of the diff. */
static int on_line(const git_diff_delta *delta, const git_diff_hunk *hunk,
                   const git_diff_line *line, void *arg)
{
    struct compare *c = arg;
    char origin = line->origin;
    bool prefixed = origin == GIT_DIFF_LINE_CONTEXT || origin == GIT_DIFF_LINE_ADDITION ||
                    origin == GIT_DIFF_LINE_DELETION;
    if (origin == GIT_DIFF_LINE_ADDITION && c->secret == NULL) {
        c->secret = import_secret(line->content, line->content_len);
    }
    if (c->cut || c->written + line->content_len + 1 > IMPORT_DIFF_MAX) {
        c->cut = true;
        return 0;
    }
    c->written += line->content_len + (prefixed ? 1 : 0);
    if (prefixed) {
        buf_addc(&c->out, origin);
    }
    buf_add(&c->out, line->content, line->content_len);
    if (c->out.failed) {
        err_set(&c->err, ERR_FAIL, "out of memory");
        return -1;
    }
    return c->out.len > (1u << 20) ? flush_out(c, &c->err) : 0;
}

/* Does a link at `path` lead out of the tree? ".." may only stand at the target's beginning: after
 * a name that may be a link itself nobody knows where it leads. */
static const char *link_fault(const char *path, const char *target, size_t len)
{
    int depth = 0;
    bool named = false;
    for (const char *p = path; *p != '\0'; p++) {
        depth += *p == '/' ? 1 : 0;
    }
    if (len > 0 && target[0] == '/') {
        return "points to an absolute path";
    }
    for (size_t i = 0; i < len;) {
        const char *slash = memchr(target + i, '/', len - i);
        size_t n = slash == NULL ? len - i : (size_t)(slash - (target + i));
        bool up = n == 2 && memcmp(target + i, "..", 2) == 0;
        if (up && (named || --depth < 0)) {
            return "points out of the tree";
        }
        if (n > 0 && tree_name_is_dotgit(target + i, n)) {
            return "points into the repository's own directory";
        }
        named = named || (!up && n > 0 && !(n == 1 && target[i] == '.'));
        i += n + 1;
    }
    return NULL;
}

static int flag_link(struct import *im, const char *path, const git_oid *oid, struct err *err)
{
    git_odb_object *object = NULL;
    char why[201];
    struct buf text;
    if (git_odb_read(&object, im->odb, oid) < 0) {
        return 0; /* refused by import_clean already */
    }
    const char *target = git_odb_object_data(object);
    const char *fault = link_fault(path, target, git_odb_object_size(object));
    buf_init(&text, 16 * PATH_MAX);
    buf_addf(&text, "%s: ", fault != NULL ? fault : "points to");
    buf_add(&text, target, strnlen(target, PATH_MAX));
    utf8_copy(why, sizeof(why), buf_str(&text));
    buf_done(&text);
    git_odb_object_free(object);
    return import_flag(im, "symlink", path, why, err);
}

/* Flags that follow from modes, sizes and content. */
static int flag_kinds(struct compare *c, const git_diff_delta *d, const char *path, bool binary,
                      struct err *err)
{
    struct import *im = c->im;
    bool gone = d->status == GIT_DELTA_DELETED;
    int rc = 0;
    if (d->old_file.mode == GIT_FILEMODE_COMMIT || d->new_file.mode == GIT_FILEMODE_COMMIT) {
        rc = import_flag(im, "submodule", path, "a submodule link changed", err);
    }
    if (rc == 0 && !gone && d->new_file.mode == GIT_FILEMODE_LINK) {
        rc = flag_link(im, path, &d->new_file.id, err);
    }
    if (rc == 0 && !gone && d->new_file.mode == GIT_FILEMODE_BLOB_EXECUTABLE &&
        d->old_file.mode != GIT_FILEMODE_BLOB_EXECUTABLE) {
        rc = import_flag(im, "executable", path, "became executable", err);
    }
    if (rc == 0 && !gone && binary) {
        rc = import_flag(im, "binary", path, "its content is not shown in the diff", err);
    }
    if (rc == 0 && !gone && d->new_file.size > LARGE_BYTES) {
        rc = import_flag(im, "large", path, "larger than 5 MiB", err);
    }
    if (rc == 0 && c->secret != NULL) {
        rc = import_flag(im, "secret", path, c->secret, err);
    }
    return rc;
}

static int clamp(uint64_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

/* Puts the file into the list while there is room, and into the totals always. */
static int list_change(struct import *im, const git_diff_delta *d, const char *path,
                       const struct import_file *counts, struct err *err)
{
    static const char letters[] = {
        [GIT_DELTA_ADDED] = 'A', [GIT_DELTA_DELETED] = 'D', [GIT_DELTA_TYPECHANGE] = 'T'};
    const struct json_shape shape = {.size = sizeof(struct import_file)};
    struct import_result *sum = &im->record.summary;
    struct buf clean;
    size_t status = (size_t)d->status;
    char letter = status < sizeof(letters) && letters[status] != 0 ? letters[status] : 'M';
    sum->files = clamp((uint64_t)sum->files + 1);
    sum->added = clamp((uint64_t)sum->added + (uint64_t)counts->added);
    sum->removed = clamp((uint64_t)sum->removed + (uint64_t)counts->removed);
    buf_init(&clean, 8 * (TREE_PATH_MAX + 1));
    term_line(path, &clean);
    size_t room = clean.len * 2 + 96;
    struct import_file *f = NULL;
    int rc = 0;
    if (im->record.changes.n >= IMPORT_CHANGES_MAX || room > im->changes_left) {
        im->unlisted++;
    } else if ((f = json_list_push(&im->record.changes, &shape)) == NULL) {
        rc = err_set(err, ERR_FAIL, "out of memory");
    } else {
        *f = *counts;
        f->change[0] = letter;
        utf8_copy(f->path, sizeof(f->path), buf_str(&clean));
        im->changes_left -= room;
    }
    buf_done(&clean);
    return rc;
}

static int compare_file(struct compare *c, git_patch *patch, struct err *err)
{
    const git_diff_delta *d = git_patch_get_delta(patch);
    const char *path = d->status == GIT_DELTA_DELETED ? d->old_file.path : d->new_file.path;
    struct import_file counts = {0};
    size_t context, added, removed;
    c->secret = NULL;
    if (git_patch_line_stats(&context, &added, &removed, patch) < 0 ||
        git_patch_print(patch, on_line, c) < 0) {
        if (c->err.code != ERR_NONE) {
            *err = c->err;
            return -(int)c->err.code;
        }
        return import_git_err(err, "cannot compare a file");
    }
    counts.binary = (d->flags & GIT_DIFF_FLAG_BINARY) != 0;
    counts.added = clamp(added);
    counts.removed = clamp(removed);
    int rc = import_flag_path(c->im, path, err);
    if (rc == 0) {
        rc = flag_kinds(c, d, path, counts.binary, err);
    }
    return rc < 0 ? rc : list_change(c->im, d, path, &counts, err);
}

static int compare_all(struct compare *c, git_diff *diff, struct err *err)
{
    size_t n = git_diff_num_deltas(diff);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        git_patch *patch = NULL;
        if (git_patch_from_diff(&patch, diff, i) < 0 || patch == NULL) {
            rc = import_git_err(err, "cannot compare a file");
        } else {
            rc = compare_file(c, patch, err);
        }
        git_patch_free(patch);
    }
    if (rc == 0 && c->cut) {
        rc = import_flag(c->im, "large", "", "the diff was cut after 64 MiB", err);
    }
    return rc < 0 ? rc : flush_out(c, err);
}

/* The collector's commit message lists what it could not take: "PATH: why". */
static int flag_omitted(struct import *im, struct err *err)
{
    static const char mark[] = "\nNot collected:\n";
    const char *text = strstr(git_commit_message(im->result), mark);
    char line[401];
    int rc = 0;
    text = text == NULL ? "" : text + sizeof(mark) - 1;
    for (unsigned i = 0; i < OMITTED_LINES && *text != '\0' && rc == 0; i++) {
        size_t n = strcspn(text, "\n");
        size_t keep = n < sizeof(line) - 1 ? n : sizeof(line) - 1;
        memcpy(line, text, keep);
        line[keep] = '\0';
        rc = import_flag(im, "omitted", "", line, err);
        text += n + (text[n] == '\n' ? 1 : 0);
    }
    return rc;
}

int import_compare(struct import *im, struct err *err)
{
    struct compare c = {.im = im};
    git_diff_options opts = GIT_DIFF_OPTIONS_INIT;
    git_diff *diff = NULL;
    opts.flags = GIT_DIFF_INCLUDE_TYPECHANGE;
    opts.max_size = IMPORT_TEXT_MAX;
    if (git_commit_tree(&im->new_tree, im->result) < 0 ||
        git_diff_tree_to_tree(&diff, im->repo, im->old_tree, im->new_tree, &opts) < 0) {
        return import_git_err(err, "cannot compare the trees");
    }
    c.fd =
        openat(im->outfd, IMPORT_DIFF, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = c.fd < 0 ? err_errno(err, ERR_FAIL, "cannot make " IMPORT_DIFF) : 0;
    buf_init(&c.out, IMPORT_TEXT_MAX * 2);
    if (rc == 0) {
        rc = flag_omitted(im, err);
    }
    if (rc == 0) {
        rc = compare_all(&c, diff, err);
    }
    if (rc == 0 && fsync(c.fd) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot write " IMPORT_DIFF);
    }
    im->record.summary.diff_bytes = rc == 0 ? c.written : 0;
    buf_done(&c.out);
    fd_close(&c.fd);
    git_diff_free(diff);
    return rc;
}
