/* A verb is one file and one row: help, dispatch and completion read the same descriptor. */
#ifndef CONTROLLER_CLI_CMD_H
#define CONTROLLER_CLI_CMD_H

#include "common/opts.h"
#include "controller/paths.h"
#include "controller/store.h"

/* What every verb gets; global options are parsed already. */
struct cli {
    const char *state; /* --state DIR or NULL */
    const char *self;  /* path of our own executable */
    bool color;        /* stdout is a terminal and NO_COLOR is unset */
    bool tty_in, tty_out, tty_err;
    int argc; /* as the process got them */
    char **argv;
    int status; /* exit status when it is none of err_code's (130: detached), else 0 */
};

struct cmd {
    const char *name;
    const char *args;    /* "[-f] ID" */
    const char *summary; /* one line */
    const char *help;    /* the rest of --help; examples */
    const struct opt *opts;
    size_t opts_size;   /* sizeof the options struct */
    bool internal;      /* not shown in help; runs before anything is set up */
    bool stop_at_first; /* options end at the first positional */
    int (*run)(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err);
    const struct cmd *const *subs; /* instead of run: "host add", "host ls"; ends with NULL */
};

/* The whole command line after the global options: finds the verb, parses, runs it or shows its help.
 * A failure with an empty message has been told already. */
int cmd_dispatch(struct cli *cli, char **args, size_t nargs, struct err *err);
/* Is this an internal verb? Then it wants the process as it started. */
const struct cmd *cmd_internal(const char *name);
/* The whole program's help. */
int cmd_overview(struct err *err);

/* Opens state directory and store for a verb that needs both. */
int cli_open(struct cli *cli, struct paths *paths, struct store **store, struct err *err);
/* A verb about one task: opens both, finds the task that the one argument names, calls `act`, closes.
 * `usage` is said when there is not exactly one argument. */
typedef int cli_task_cb(void *arg, const struct paths *p, struct store *s, const struct task_row *t,
                        struct err *err);
int cli_with_task(struct cli *cli, char **args, size_t nargs, const char *usage, cli_task_cb *act,
                  void *arg, struct err *err);
/* Closes both; safe after a failed cli_open when they were zeroed (rootfd < 0 or 0, store NULL). */
void cli_close(struct paths *paths, struct store *store);

/* Writes all to stdout. A reader who went away is a failure without a message. */
int cli_out(const struct buf *b, struct err *err);
/* Appends a file that the operator named, whatever kind it is; "-" is stdin. `to`'s ceiling bounds
 * it. -ERR_USAGE in one line. */
int cli_read(const char *file, struct buf *to, struct err *err);
/* One line of our own on stderr, control bytes that arguments bring in made visible. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Appends foreign text in one line, neutralised. */
void cli_text(struct buf *to, const char *text);
/* -ERR_USAGE "creel VERB: what": exactly `n` positional arguments are needed. */
int cli_nargs(size_t nargs, size_t n, const char *what, struct err *err);

/* "3 min ago", "2026-11-23 12:05", "never" for 0. */
void cli_ago(uint64_t wall_ms, char out[static 32]);

/* JSON for --json, written member by member; a comma is put where one is due. */
void emit_key(struct buf *b, const char *key);
void emit_text(struct buf *b, const char *key, const char *value);
void emit_uint(struct buf *b, const char *key, uint64_t value);
void emit_int(struct buf *b, const char *key, int value);
void emit_bool(struct buf *b, const char *key, bool value);
void emit_hex(struct buf *b, const char *key, const uint8_t *bytes, size_t n);
void emit_strs(struct buf *b, const char *key, const struct strv *v);
void emit_limit_names(struct buf *b, const char *key, unsigned bits);
/* '{' or '[' after key (NULL: within a list or at the top). */
void emit_open(struct buf *b, const char *key, char bracket);
void emit_close(struct buf *b, char bracket);

/* One host as an object. */
void host_json(const struct host_row *h, struct buf *b);

#define CLI_OUT_MAX (64u << 20) /* bytes of one command's own output */

#endif
