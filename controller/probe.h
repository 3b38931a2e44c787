/* One look at a host: connect, check its key, log in, hear its runner's WELCOME, hang up. */
#ifndef CONTROLLER_PROBE_H
#define CONTROLLER_PROBE_H

#include "controller/host.h"

struct probe {
    struct msg_welcome welcome;  /* its list of attempts is not kept */
    char host_key[KEY_LINE_MAX]; /* "TYPE BASE64" as seen */
    char host_key_fpr[KEY_FPR_SIZE];
    unsigned attempts; /* how many the runner still has for this controller */
};

/* On success probe_done() frees. Blocks, in a short-lived loop of its own; host.h's deadlines bound it. */
int probe_host(const struct host_target *t, struct probe *out, struct err *err);
void probe_done(struct probe *p);
/* "[user@]ADDR[:PORT]", IPv6 in brackets; fills user, addr and port (default: who we are, 22). */
int probe_target_parse(const char *text, struct host_target *out, struct err *err);

#endif
