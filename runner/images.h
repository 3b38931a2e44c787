/* The root file systems that the host's operator provides for jails: --images DIR, where DIR/NAME is an
 * unpacked root, made by deploy/image. Only root's own (in an unprivileged runner: its own user's)
 * directories count: what others could change is no image. */
#ifndef RUNNER_IMAGES_H
#define RUNNER_IMAGES_H

#include "proto/json.h"
#include "proto/err.h"

#define IMAGES_MAX      64
#define IMAGES_PATH_MAX 512

/* Appends the names, sorted, at most IMAGES_MAX. `dir` NULL or unreadable: none. */
void images_list(const char *dir, struct strv *out);
/* Writes the absolute path of an image's root; -ERR_REFUSED names those that there are, or says what is
 * wrong with this one. */
int images_find(const char *dir, const char *name, char ret_path[static IMAGES_PATH_MAX],
                struct err *err);

#endif
