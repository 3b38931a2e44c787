/* The hosts behind the presets of egress rules, as the package managers on this host are set up: what
 * apt, npm and pip would ask, they are asked themselves or their configuration is read, so that mirrors
 * work and no registry's name is built in. Runs before serve's loop, once. */
#ifndef RUNNER_PRESETS_H
#define RUNNER_PRESETS_H

#include "proto/egress.h"

#define PRESET_RULES_MAX 64

struct presets {
    struct egress_rule rules[PRESET_COUNT][PRESET_RULES_MAX];
    size_t n[PRESET_COUNT]; /* 0: nothing known on this host; why[] says what is missing */
    char why[PRESET_COUNT][121];
};

/* Never fails as a whole: what cannot be found out stands in why[]. Children are bounded in time and
 * output and get an empty environment. */
void presets_load(struct presets *out);
/* The policy's rules with each preset replaced by its own: -ERR_REFUSED, naming the preset and what is
 * missing, when one is not known here. */
int presets_resolve(const struct presets *p, const struct egress_rule *in, size_t n,
                    struct egress_rule out[static EGRESS_RULES_MAX], size_t *ret_n,
                    struct err *err);

#endif
