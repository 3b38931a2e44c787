/* The importer's child: arguments, confinement, the three steps, review.json, one line on stdout.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/confine.h"
#include "controller/import.h"
#include "proto/utf8.h"

/* libgit2 with no configuration but the quarantine's, and windows that fit the memory limit. */
static int start_git(struct err *err)
{
    static const int levels[] = {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
                                 GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA};
    int rc = git_libgit2_init() < 0 ? -1 : 0;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]) && rc == 0; i++) {
        rc = git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    }
    if (rc == 0) {
        rc = git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, (size_t)IMPORT_OBJECTS_MAX);
    }
    if (rc == 0) {
        rc = git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    }
    if (rc == 0) {
        rc = git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, (size_t)(64u << 20));
    }
    if (rc == 0) {
        rc = git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, (size_t)(1u << 30));
    }
    return rc < 0 ? err_set(err, ERR_FAIL, "cannot start libgit2") : 0;
}

/* From here on the process can read the two packs and write its own directory. */
static int shut_in(const struct import *im, struct err *err)
{
    char quarantine[PATH_MAX], patch[PATH_MAX], out[PATH_MAX];
    const struct confine_path paths[] = {
        {.path = quarantine, .dir = true},
        {.path = patch},
        {.path = out, .dir = true, .write = true},
    };
    const char *weak = getenv("CREEL_ALLOW_UNCONFINED_IMPORT");
    if (strlen(im->dir) + strlen(im->out) > PATH_MAX - 64) {
        return err_set(err, ERR_FAIL, "path too long");
    }
    snprintf(quarantine, sizeof(quarantine), "%s/quarantine.git", im->dir);
    snprintf(patch, sizeof(patch), "%s/patch.pack", im->dir);
    snprintf(out, sizeof(out), "%s/%s", im->dir, im->out);
    return confine_self(paths, sizeof(paths) / sizeof(paths[0]),
                        weak != NULL && strcmp(weak, "1") == 0, err);
}

/* What came back being bad is a finding, not a failure: it is written down. */
static int found_bad(struct import *im, int rc, const struct err *why, struct err *err)
{
    struct import_result *sum = &im->record.summary;
    if (rc != -ERR_REFUSED) {
        *err = *why;
        return rc;
    }
    utf8_copy(sum->reason, sizeof(sum->reason), why->msg);
    sum->refused = true;
    sum->commit[0] = '\0';
    sum->pack_bytes = sum->diff_bytes = 0;
    return 0;
}

static int steps(struct import *im, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = import_open(im, &why);
    if (rc < 0) {
        return found_bad(im, rc, &why, err);
    }
    rc = import_clean(im, &why);
    if (rc < 0) { /* a tree that was not found to be bounded is not compared either */
        return found_bad(im, rc, &why, err);
    }
    rc = import_compare(im, &why);
    return rc < 0 ? found_bad(im, rc, &why, err) : 0;
}

static int write_review(struct import *im, struct err *err)
{
    struct buf text;
    char more[80];
    int rc = 0;
    buf_init(&text, JSON_BYTES_MAX);
    if (im->unlisted > 0) {
        snprintf(more, sizeof(more), "%u more files or flags are not listed here", im->unlisted);
        im->record.flags.n -= im->record.flags.n == IMPORT_FLAGS_MAX ? 1 : 0;
        rc = import_flag(im, "more", "", more, err);
    }
    if (rc == 0) {
        rc = json_encode(&review_record_shape, &im->record, &text, err);
    }
    if (rc == 0) {
        int fd = openat(im->outfd, IMPORT_REVIEW,
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || write_all(fd, text.data, text.len) < 0 || fsync(fd) < 0) {
            rc = err_errno(err, ERR_FAIL, "cannot write " IMPORT_REVIEW);
        }
        fd_close(&fd);
    }
    buf_done(&text);
    return rc;
}

static int say(struct import *im, struct err *err)
{
    struct buf line;
    buf_init(&line, 65536);
    int rc = json_encode(&import_result_shape, &im->record.summary, &line, err);
    if (rc == 0 &&
        (buf_addc(&line, '\n') < 0 || write_all(STDOUT_FILENO, line.data, line.len) < 0)) {
        rc = err_errno(err, ERR_FAIL, "cannot write to stdout");
    }
    buf_done(&line);
    return rc;
}

static int run(struct import *im, struct err *err)
{
    int rc = start_git(err);
    if (rc == 0) {
        rc = shut_in(im, err);
    }
    if (rc < 0) {
        return rc;
    }
    char out[PATH_MAX];
    snprintf(out, sizeof(out), "%s/%s", im->dir, im->out);
    im->outfd = open(out, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (im->outfd < 0) {
        return err_errno(err, ERR_FAIL, "cannot open %s", out);
    }
    rc = import_needles_load(im, err);
    if (rc == 0) {
        rc = steps(im, err);
    }
    if (rc == 0) {
        rc = write_review(im, err);
    }
    return rc < 0 ? rc : say(im, err);
}

/* argv: "importer" TASKDIR OUT BASE ROOT COMMIT BRANCH TITLE. Ends the process: what it holds is the
 * kernel's to free, and no exit handler has any business in here. */
int importer_main(int argc, char **argv)
{
    /* Nobody takes what it finds any more. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct err err = ERR_INIT;
    struct import im = {
        .outfd = -1, .changes_left = IMPORT_CHANGES_BYTES, .flags_left = IMPORT_FLAGS_BYTES};
    int rc;
    if (argc != 8 || argv[1][0] != '/' || strchr(argv[2], '/') != NULL || !oid_valid(argv[3]) ||
        !oid_valid(argv[4]) || !oid_valid(argv[5])) {
        rc = err_set(&err, ERR_USAGE, "importer TASKDIR OUT BASE ROOT COMMIT BRANCH TITLE");
    } else {
        im.dir = argv[1];
        im.out = argv[2];
        im.base = argv[3];
        im.root = argv[4];
        im.commit = argv[5];
        im.branch = argv[6];
        im.title = argv[7];
        rc = run(&im, &err);
    }
    if (rc < 0) {
        dprintf(STDERR_FILENO, "%s\n", err.msg);
    }
    _exit(rc < 0 ? err_exit(&err) : 0);
}
