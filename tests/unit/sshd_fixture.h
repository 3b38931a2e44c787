/* A throwaway sshd on loopback for tests: own config, own host keys of three kinds, one login key
 * for each way the far end may behave (its authorized_keys line names the mode). Works as any user.
 */
#ifndef TESTS_UNIT_SSHD_FIXTURE_H
#define TESTS_UNIT_SSHD_FIXTURE_H

#include <arpa/inet.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/fixture.h"

struct sshd {
    char dir[64];
    char user[65];
    pid_t pid;
    unsigned port;
};

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        abort();
    close(fd);
    return ntohs(a.sin_port);
}

static bool port_open(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return open;
}

/* Starts sshd with host keys `kinds` (NULL-terminated: "ed25519", ...) in `s->dir`, which holds
 * them. HOME is set so that no shell reads its start-up files: a slow one would be measured, not
 * us. */
static int sshd_start(struct sshd *s, const char *config, const char *const *kinds,
                      int max_sessions)
{
    char path[PATH_MAX];
    s->port = free_port();
    fixture_write(s->dir, config,
                  "ListenAddress 127.0.0.1\nPort %u\nPidFile none\nStrictModes no\nUsePAM no\n"
                  "AuthorizedKeysFile %s/authorized_keys\nPasswordAuthentication no\n"
                  "KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxSessions %d\n"
                  "MaxStartups 200\nLogLevel QUIET\nSetEnv HOME=%s\n",
                  s->port, s->dir, max_sessions, s->dir);
    for (; *kinds; kinds++)
        fixture_write(s->dir, config, "HostKey %s/host_%s\n", s->dir, *kinds);
    if (geteuid() == 0) /* sshd started by root wants its own empty directory */
        mkdir("/run/sshd", 0755);
    fixture_path(s->dir, config, path);
    /* It must not outlive a test that dies. */
    const char *const argv[] = {"setpriv", "--pdeathsig", "TERM", "/usr/sbin/sshd",
                                "-D",      "-f",          path,   NULL};
    s->pid = fixture_spawn(argv);
    if (s->pid < 0)
        return -1;
    for (int i = 0; i < 500 && !port_open(s->port); i++)
        usleep(10000);
    return port_open(s->port) ? 0 : -1;
}

static void sshd_stop(struct sshd *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

/* Makes the directory, the keys, and a login key "id_MODE" for each mode, whose forced command is
 * `self --peer MODE`. */
static int sshd_prepare(struct sshd *s, const char *const *modes)
{
    static const char *const kinds[] = {"ed25519", "ecdsa", "rsa", NULL};
    char self[PATH_MAX], name[64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    const struct passwd *pw = getpwuid(geteuid());
    if (n < 0 || !pw)
        return -1;
    self[n] = 0;
    snprintf(s->user, sizeof s->user, "%s", pw->pw_name);
    snprintf(s->dir, sizeof s->dir, "/tmp/creel-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    for (const char *const *k = kinds; *k; k++) {
        snprintf(name, sizeof name, "host_%s", *k);
        if (fixture_keygen(s->dir, name, *k) != 0)
            return -1;
    }
    for (; *modes; modes++) {
        struct buf line;
        buf_init(&line, KEY_LINE_MAX);
        snprintf(name, sizeof name, "id_%s", *modes);
        if (fixture_keygen(s->dir, name, "ed25519") != 0)
            return -1;
        snprintf(name, sizeof name, "id_%s.pub", *modes);
        fixture_text(s->dir, name, &line);
        if (strcmp(*modes, "stranger") != 0)
            fixture_write(s->dir, "authorized_keys", "restrict,command=\"%s --peer %s\" %s", self,
                          *modes, buf_str(&line));
        buf_done(&line);
    }
    return 0;
}

static void sshd_remove(struct sshd *s)
{
    sshd_stop(s);
    fixture_remove(s->dir);
}

#endif
