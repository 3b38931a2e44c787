/* Makes a jail's network namespace and the gate's doors in it. Called by the keeper before each jail. */
#include "runner/net.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/file.h"
#include "runner/fdpass.h"

#define BACKLOG 128

/* 127.0.0.1, and a second address: to getaddrinfo(3) with AI_ADDRCONFIG a machine with the first alone
 * has no IPv4, and it finds no name. */
static int loopback_up(void)
{
    const struct sockaddr_in second = {.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    struct ifreq alias = {.ifr_name = "lo:1"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    memcpy(&alias.ifr_addr, &second, sizeof second);
    int rc = ioctl(fd, SIOCSIFFLAGS, &ifr);
    if (rc == 0)
        rc = ioctl(fd, SIOCSIFADDR, &alias);
    fd_close(&fd);
    return rc;
}

static int door(int type, uint32_t address, uint16_t port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(address),
    };
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 ||
                    (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)))
        fd_close(&fd);
    return fd;
}

/* The doors that are there for all policies alike. */
static void fixed_doors(int fds[static GATE_SOCKETS_MAX])
{
    fds[GATE_DNS_UDP] = door(SOCK_DGRAM, INADDR_LOOPBACK, 53);
    fds[GATE_DNS_TCP] = door(SOCK_STREAM, INADDR_LOOPBACK, 53);
    fds[GATE_PROXY] = door(SOCK_STREAM, INADDR_LOOPBACK, GATE_PROXY_PORT);
    fds[GATE_BROKER] = door(SOCK_STREAM, INADDR_LOOPBACK, GATE_BROKER_PORT);
}

/* The door for `port` among those that there are, taken out of them, or -1. */
static int take(uint16_t port, const uint16_t *have, size_t nhave, int *fds)
{
    int fd = -1;
    for (size_t i = 0; i < nhave; i++)
        if (have[i] == port) {
            fd = fds[i];
            fds[i] = -1;
        }
    return fd;
}

int net_doors(const uint16_t *have, size_t nhave, const uint16_t *ports, size_t nports,
              int fds[static GATE_SOCKETS_MAX], size_t *n, struct err *err)
{
    int old[EGRESS_PORTS_MAX], rc = 0;
    if (*n == 0) {
        nhave = 0;
        fixed_doors(fds);
    }
    memcpy(old, fds + GATE_PORTS, nhave * sizeof *old);
    /* The wildcard doors take what comes for any of 127/8: all of it is local. */
    for (size_t i = 0; i < nports; i++) {
        int fd = take(ports[i], have, nhave, old);
        fds[GATE_PORTS + i] = fd >= 0 ? fd : door(SOCK_STREAM, INADDR_ANY, ports[i]);
    }
    *n = GATE_PORTS + nports;
    for (size_t i = 0; i < *n; i++)
        if (fds[i] < 0 && rc == 0)
            rc = err_errno(err, ERR_FAIL, "the egress gate's sockets cannot be made");
    fds_close(old, nhave);
    if (rc < 0) {
        fds_close(fds, *n);
        *n = 0;
    }
    return rc;
}

int net_enter(struct err *err)
{
    if (unshare(CLONE_NEWNET) < 0 || loopback_up() < 0)
        return err_errno(err, ERR_FAIL, "the jail's network cannot be made");
    return 0;
}
