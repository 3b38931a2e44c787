/* Profiles of coding agents: what it takes to run one in a jail, as data. The ones in deploy/agents are part
 * of the program; others are files of the operator's in the same form (`creel agents show NAME`).
 *
 *   {"name":"..","about":"..","argv":[..],"files":[{"path":"..","lines":[..]}],"env":["NAME=value"],
 *    "dialect":"responses|chat|messages|none","tool":"..","events":"text|codex-json|..","limits":"mem=2G",
 *    "model":"..","exits":[{"code":1,"means":".."}]}
 *
 * Only name, argv and dialect must be there. ${PROMPT} may stand in argv; ${MODEL} and ${HOME} also in env
 * and files; ${CREEL_TASK_TOKEN} in env and files is put in by the jail. Pure: no I/O. */
#ifndef CONTROLLER_AGENT_PROFILE_H
#define CONTROLLER_AGENT_PROFILE_H

#include "proto/task.h"

#define AGENT_BYTES_MAX (256u << 10)

/* How an agent's stdout is read for people. */
enum agent_events {
    AGENT_TEXT, /* as it is */
    AGENT_CODEX_JSON,
    AGENT_CLAUDE_STREAM_JSON,
    AGENT_OPENCODE_JSON,
    AGENT_OPENCLAW_JSON,
    AGENT_EVENTS_COUNT,
};
/* "text" "codex-json" "claude-stream-json" "opencode-json" "openclaw-json" */
extern const char *const agent_events_names[AGENT_EVENTS_COUNT + 1];

/* The model API that it speaks: enum dialect_id of controller/broker/dialect.h, or none. */
#define AGENT_DIALECT_NONE 3
extern const char *const agent_dialect_names[]; /* "responses" "chat" "messages" "none" */

struct agent_exit {
    int code;
    char means[201];
};

struct agent_profile {
    char name[TASK_AGENT_SIZE]; /* [a-z0-9][a-z0-9._-]* */
    char about[201];
    struct strv argv;
    struct json_list files; /* struct task_file */
    struct strv env;
    int dialect;
    char tool[65]; /* that it needs in the host's tool layer; empty: none */
    int events;    /* enum agent_events */
    char limits[201];
    char model[MODEL_NAME_SIZE]; /* when none is asked for; empty: one must be */
    struct json_list exits;      /* struct agent_exit */
};

/* Parses and checks; `source` names it in messages. -ERR_USAGE. */
int agent_profile_parse(const void *bytes, size_t len, const char *source,
                        struct agent_profile *out, struct err *err);
void agent_profile_done(struct agent_profile *p);

/* The ones that are part of the program: their JSON, NULL behind the last. */
const char *agent_builtin_text(size_t i, size_t *ret_len);
/* -ERR_USAGE naming those that there are. */
int agent_profile_builtin(const char *name, struct agent_profile *out, struct err *err);
/* What this exit code of the agent `name` means, into out (empty: nothing is known of it). */
void agent_exit_means(const char *name, int code, char out[static 201]);

/* What a task gets of it: appended to `command`, `env` and `files`. -ERR_USAGE: no prompt where the profile
 * wants one, a model of other characters than [A-Za-z0-9._:/@+-] or none. */
int agent_profile_expand(const struct agent_profile *p, const char *prompt, const char *model,
                         struct strv *command, struct strv *env, struct json_list *files,
                         struct err *err);
/* Does it want a prompt at all? */
bool agent_wants_prompt(const struct agent_profile *p);

#endif
