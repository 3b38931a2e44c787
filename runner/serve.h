/* creel-runner serve: the unprivileged process of a host. It owns the loop, the slots, the streams and
 * the warden's socket; what each does stands in its own file. */
#ifndef RUNNER_SERVE_H
#define RUNNER_SERVE_H

#include <uv.h>

#include "runner/attempt.h"
#include "runner/config.h"
#include "runner/identity.h"
#include "runner/seen.h"
#include "runner/stream.h"
#include "runner/warden_client.h"

#define SERVE_SPOOL_DIR "spool" /* in run_dir; emptied at start */

struct serve {
    const struct runner_config *cfg;
    struct identity identity;
    struct seen *seen;
    struct warden_client warden;
    struct attempt_owner owner;
    struct presets *presets;  /* owned */
    struct addr_net *reach;   /* cfg->reach, parsed; owned */
    struct attempt *attempts; /* cfg->slots of them */
    struct stream_owner streams;
    char kernel[129];
    uv_loop_t loop;
    uv_poll_t listener;
    uv_signal_t sigterm, sigint;
    uv_timer_t stop_timer;
    int state_fd, run_fd, spool_fd, listen_fd;
    bool listening, stopping, closed;
    int exit_code;
};

/* Runs until SIGTERM or SIGINT, or until the warden is lost. Exit status. */
int serve_run(const struct runner_config *cfg, struct err *err);

/* The attempt of that id which is still here, or NULL. */
struct attempt *serve_attempt(struct serve *sv, const char *id);
/* A slot for a new one, or NULL. */
struct attempt *serve_free_slot(struct serve *sv);

#endif
