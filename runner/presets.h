/* The hosts behind the presets of egress rules, as the package managers on this host are set up: npm,
 * apt and pip are asked themselves, so that mirrors work and no registry of theirs is built in. cargo,
 * go and github stand for their documented hosts, and pip for its own where it is not installed.
 *
 * Asking takes up to a second of a package manager's start, so it is done when a task first wants it:
 * presets_ask when the task is admitted, presets_resolve when its jail is about to be made. What was
 * learnt holds until the runner ends. One thread. */
#ifndef RUNNER_PRESETS_H
#define RUNNER_PRESETS_H

#include "proto/egress.h"
#include "runner/ask_tool.h"

#define PRESET_RULES_MAX 64
#define PRESETS_PATH     "/usr/local/bin:/usr/bin:/bin"

struct preset {
    struct egress_rule rules[PRESET_RULES_MAX];
    size_t n;       /* 0: not asked yet, or nothing known */
    char why[121];  /* what is missing, when nothing is known */
    char tool[256]; /* path of the program to ask; empty: none */
    struct ask_tool ask;
};

struct presets {
    char path[256]; /* where tools are looked for */
    struct preset of[PRESET_COUNT];
};

/* Looks for the tools in `path` (PRESETS_PATH); starts nothing. */
void presets_load(struct presets *out, const char *path);
/* 1u << PRESET_X for each that is known or can be asked for here. */
unsigned presets_known(const struct presets *p);
/* Begins to ask for the presets among rules, unless known. The programs run beside, with an empty
 * environment, and are bounded in time and output. */
void presets_ask(struct presets *p, const struct egress_rule *rules, size_t n);
/* The rules with each preset replaced by its own, which name the port of their scheme or their own.
 * Waits for tools that have not answered yet (until ASK_TOOL_MS after they were asked). -ERR_REFUSED, naming the
 * preset and what is missing, when one is not known here; it is asked for anew by the next task. */
int presets_resolve(struct presets *p, const struct egress_rule *in, size_t n,
                    struct egress_rule out[static EGRESS_RULES_MAX], size_t *ret_n,
                    struct err *err);
/* Ends what still runs. */
void presets_done(struct presets *p);

#endif
