/* One program of many attacks: each tries for real, once, and says what came of it. It runs as a
 * task's command in a jail, where every one must be stopped, and outside of a jail as the control,
 * where they succeed: that is what shows that an attack is one.
 *
 * An attack ends its process by blocked() or got(); whoever runs it sees that line and the driver
 * (tests/escape/escape) looks from outside. Marks that it may leave carry the name MARK. */
#ifndef TESTS_ESCAPE_ATTACK_H
#define TESTS_ESCAPE_ATTACK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MARK     "creel-escaped"
#define MARK_KEY 0x63726565 /* System V keys are numbers */

/* What is needed to try it. Nothing: it harms no machine, whatever comes of it. */
enum attack_where {
    ANYWHERE,  /* in a jail anywhere, outside of one on a throwaway host */
    ALONE,     /* disturbs its neighbours: a task of its own, no control */
    THROWAWAY, /* only on a throwaway host: harms it when the jail fails */
};

struct attack {
    const char *name;
    const char *what;  /* is tried, for the report */
    const char *fence; /* should stop it */
    enum attack_where where;
    const char *control; /* "": it succeeds as root outside of a jail; else why that is not tried */
    void (*run)(char **args);
};

void blocked(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void got(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* For a call that a filter or a missing capability must answer: r >= 0 is a success, and any errno but
 * EPERM, EACCES or ENOSYS means that it came through to the kernel. */
void filtered(long r, const char *call);

/* Any failure will do: there is nothing behind it. */
void refused(long r, const char *call);

/* A child that waits to be looked at; it dies with us. */
pid_t bystander(void);

extern const struct attack attacks_process[], attacks_file[], attacks_kernel[], attacks_socket[],
    attacks_use[], attacks_output[];

#endif
