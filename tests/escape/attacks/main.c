/* Runs attacks by name, each in a process of its own with a deadline, and prints a line for each.
 *
 *   attack --list                  name, what, fence, where, control: a row each, tabs between
 *   attack NAME [ARG]...           one, in this process
 *   attack --batch SECONDS NAME... several, then stays for SECONDS so that others can look
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/escape/attacks/attack.h"

#define DEADLINE_S 20

static const struct attack *const tables[] = {
    attacks_process, attacks_file, attacks_kernel, attacks_socket, attacks_use, attacks_output,
};
static const char *running = "?";

static void __attribute__((noreturn)) verdict(const char *word, const char *format, va_list args)
{
    char text[400], line[512];
    vsnprintf(text, sizeof text, format, args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    int n = snprintf(line, sizeof line, "= %s %s %s\n", running, word, text);
    _exit(write(1, line, (size_t)n) == n ? 0 : 1);
}

void blocked(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    verdict("blocked", format, args);
}

void got(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    verdict("GOT", format, args);
}

void filtered(long r, const char *call)
{
    if (r >= 0)
        got("%s succeeded", call);
    if (errno != EPERM && errno != EACCES && errno != ENOSYS)
        got("%s came through to the kernel: %s", call, strerror(errno));
}

void refused(long r, const char *call)
{
    if (r >= 0)
        got("%s succeeded", call);
}

pid_t bystander(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    return pid;
}

static const struct attack *find(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct attack *a = tables[i]; a->name; a++)
            if (strcmp(a->name, name) == 0)
                return a;
    fprintf(stderr, "attack: there is no %s\n", name);
    exit(2);
}

static void list(void)
{
    static const char *const where[] = {"anywhere", "alone", "throwaway"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct attack *a = tables[i]; a->name; a++)
            printf("%s\t%s\t%s\t%s\t%s\n", a->name, a->what, a->fence, where[a->where], a->control);
}

static void __attribute__((noreturn)) run(const struct attack *a, char **args)
{
    running = a->name;
    a->run(args);
    blocked("nothing came of it");
}

static void run_apart(const struct attack *a)
{
    int status;
    char *none[] = {NULL};
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        alarm(DEADLINE_S);
        run(a, none);
    }
    running = a->name;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        printf("= %s GOT could not even be started: %s\n", a->name, strerror(errno));
    } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        printf("= %s GOT still at it after %d s\n", a->name, DEADLINE_S);
    } else if (WIFSIGNALED(status)) {
        printf("= %s blocked killed by signal %d\n", a->name, WTERMSIG(status));
    }
    fflush(stdout);
    kill(-pid, SIGKILL);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    if (argc < 2)
        return 2;
    if (strcmp(argv[1], "--batch") != 0 || argc < 4)
        run(find(argv[1]), argv + 2);
    for (int i = 3; i < argc; i++)
        run_apart(find(argv[i]));
    printf("= - done -\n");
    fflush(stdout);
    sleep((unsigned)strtoul(argv[2], NULL, 10));
    return 0;
}
