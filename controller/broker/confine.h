/* The broker's own fences: after this it can talk on the descriptors it has, and nothing else. */
#ifndef CONTROLLER_BROKER_CONFINE_H
#define CONTROLLER_BROKER_CONFINE_H

#include "proto/err.h"

/* For good: no new privileges, no file can be opened (Landlock where the kernel has it, and
 * seccomp), no process, socket or executable memory be made. Without seccomp it fails. */
int broker_confine(struct err *err);

#endif
