/* Directories that the host's operator provides for jails (images, tools): whose they must be, and what a
 * name in them may be. */
#ifndef RUNNER_PROVIDED_H
#define RUNNER_PROVIDED_H

#include <stdbool.h>

/* NULL, or why others than root and the runner's own user could change what is in the directory. */
const char *provided_unsafe(int fd);
/* [a-z0-9_-][a-z0-9._-]{0,63} */
bool provided_name_valid(const char *name);

#endif
