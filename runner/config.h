/* What a runner is told when it starts: `creel-runner serve` flags, nothing else. */
#ifndef RUNNER_CONFIG_H
#define RUNNER_CONFIG_H

#include "proto/json.h"
#include "proto/key.h"

#define RUNNER_CONTROLLERS_MAX 16
#define RUNNER_SLOTS_MAX       16
#define RUNNER_SOCKET          "runner.sock" /* in run_dir, 0600 */

struct runner_config {
    const char *state_dir; /* --state DIR: signing key, seen nonces; survives restarts; 0700 */
    const char *run_dir;   /* --run DIR: socket, log spools; should be a tmpfs; 0700 */
    const char *host_key;  /* --host-key FILE.pub: this host's own SSH host key, the audience */
    const char
        *controllers;  /* --controllers FILE: pinned controller keys, one ssh-ed25519 a line */
    const char *user;  /* --user NAME: whom serve becomes; needed when started as root */
    const char *disks; /* --disks DIR: encrypted disks of attempts; default: "disks" in state_dir */
    const char *caches; /* --caches DIR: dependency caches of trusted tasks; NULL: none are kept */
    const char *images; /* --images DIR: root file systems that a policy may name; NULL: none */
    const char *tools;  /* --tools DIR: programs for tasks, mounted in every jail; NULL: none */
    unsigned slots;     /* --slots N: attempts at once, default 1 */
    struct strv reach;  /* --reach CIDR...: private networks that the egress gate may dial */
};

struct controller_keys {
    size_t n;
    uint8_t keys[RUNNER_CONTROLLERS_MAX][KEY_PUB_BYTES];
};

/* Reads the pinned keys; none, too many or a bad line is an error that names the line. */
int controller_keys_load(const char *path, struct controller_keys *out, struct err *err);

#endif
