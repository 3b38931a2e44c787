/* The profiles of deploy/agents as part of the program; agent_builtin.c is made of them by embed.py. */
#ifndef CONTROLLER_AGENT_BUILTIN_H
#define CONTROLLER_AGENT_BUILTIN_H

#include <stddef.h>

struct agent_builtin {
    const char *name, *text;
};
extern const struct agent_builtin agent_builtins[];
extern const size_t agent_builtins_n;

#endif
