/* The engine: one process, one libuv loop, drives every task from queued to its end.
 *
 * It takes engine.lock (flock), listens on engine.sock, keeps one SSH session per host it needs, and
 * reads and writes the store. Commands do not talk to it: they write the store and poke. A byte either
 * way on engine.sock means "look again" and nothing else, so there is nothing to parse.
 */
#ifndef CONTROLLER_ENGINE_H
#define CONTROLLER_ENGINE_H

#include <stdbool.h>

#include "controller/paths.h"
#include "proto/err.h"

/* Runs until told to stop (SIGTERM, SIGINT) or, with idle_exit_s > 0, until there was nothing to do
 * for that long. -ERR_FAIL "already running (pid N)" when another engine holds the lock. */
int engine_run(const struct paths *paths, unsigned idle_exit_s, struct err *err);

/* For commands: makes sure an engine runs (starts `creel serve --idle-exit` in the background, own
 * session, output to engine.log, when none holds the lock) and connects to engine.sock. Returns a
 * connected stream socket (read: something changed; write a byte: look at the store), or -code. */
int engine_poke(const struct paths *paths, bool start, struct err *err);

#endif
