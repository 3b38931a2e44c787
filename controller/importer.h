/* The importer: a short-lived child that alone parses what came back from a host.
 *
 * `creel importer TASKDIR OUT BASE ROOT COMMIT` (an internal verb) confines itself first (Landlock: write
 * below TASKDIR/OUT only, read /usr libraries only; seccomp; rlimits; no network; no environment), then:
 * verifies patch.pack within bounds, checks every new tree entry's name and mode, re-parents the tree
 * on BASE, writes clean.pack (the new objects and the new commit, nothing else), patch.diff and
 * review.json, and prints one JSON line (struct import_result). What it prints is hostile too.
 */
#ifndef CONTROLLER_IMPORTER_H
#define CONTROLLER_IMPORTER_H

#include <uv.h>

#include "proto/json.h"
#include "proto/task.h"

/* In the child's directory, from the engine: what it looks for (controller/redact.h). */
#define IMPORT_NEEDLES "needles.json"

struct import_flag { /* something a reviewer must look at */
    char kind
        [33]; /* "ci", "hook", "gitattributes", "submodule", "symlink", "executable", "binary", "lockfile", "path", "secret-value" ... */
    char path[1025];
    char why[201];
};

struct import_file {
    char path[1025];
    char change[2]; /* "A" "M" "D" "T" */
    bool binary;
    int added, removed; /* lines */
};

struct import_result {
    char commit[TASK_OID_SIZE]; /* on BASE; "" when the tree is unchanged */
    bool refused;               /* kept, but cannot be approved: `reason` */
    char reason[301];
    /* Where the first of the operator's secrets stands, and which: "src/x.py line 3 holds the secret
     * openai". Not empty: the patch is whole, but is not approved. */
    char secret[301];
    uint64_t diff_bytes, pack_bytes;
    int files, added, removed;
};

/* review.json: the result again with the lists. */
struct review_record {
    struct import_result summary;
    struct json_list changes; /* struct import_file */
    struct json_list flags;   /* struct import_flag */
};

extern const struct json_shape import_result_shape, review_record_shape;

struct needles; /* controller/redact.h */

typedef void import_done_cb(void *arg, const struct import_result *r, const struct err *err);
/* Starts the child in the loop, with a deadline; cb is called once. Returns 0, or -code and cb is not
 * called. `commit` is the hostile commit's id from the result ("" : nothing to import is an error).
 * `needles` (or NULL) is what no path and no content may hold; the child gets its own copy. */
int import_start(uv_loop_t *loop, const char *self, const char *task_dir, const char *base,
                 const char *root, const char *commit, const char *branch, const char *title,
                 const struct needles *needles, import_done_cb *cb, void *arg, struct err *err);
/* Ends every import that runs in `loop`, at once: each callback still comes, from the loop, with an
 * error; the task's directory is as if the import had never begun. For an engine that stops. */
void import_stop(uv_loop_t *loop);
/* main of the child. */
int importer_main(int argc, char **argv);

#endif
