/* The broker's own fences, put up when its keys are loaded and before the first byte of a jail.
 *
 * After this an attacker who runs code in the process can: use the keys and secrets that are in its memory,
 * talk to any address (it must reach providers and forges by name), ask the secrets helper for any secret
 * that secrets.json names, read what is readable below /etc, /usr and a few directories of the resolver,
 * write below `dir` (and so forget what was spent). He cannot: start a program or a process, trace another
 * or send it signals, listen on a port, read or write any other file (Landlock; without it in the kernel: as
 * far as file modes go), make memory executable, gain privileges. */
#ifndef CONTROLLER_BROKER_CONFINE_H
#define CONTROLLER_BROKER_CONFINE_H

#include "proto/json.h"

/* Loads what libc would load only when it first looks a name up: after broker_confine that is refused. */
void broker_preload(void);
/* Wipes the environment but for the proxy settings, which libcurl reads: what started creel may have keys
 * there (`env:` secrets), which the secrets helper has by now. To be called before a loop is made: libuv from
 * 1.45 on then makes io_urings, on which the kernel works past both fences, and aborts where one is refused. */
void broker_forget_environment(void);
/* For good. `dir`: the broker's directory. `readable`: further files that must stay readable (authorities of
 * providers). Without seccomp it fails. */
int broker_confine(const char *dir, const struct strv *readable, struct err *err);

#endif
