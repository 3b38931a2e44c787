/* Makes a jail's network namespace and the gate's doors in it. Called by the keeper before each jail. */
#include "runner/net.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/file.h"
#include "runner/fdpass.h"

#define BACKLOG 128

static int loopback_up(void)
{
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int rc = ioctl(fd, SIOCSIFFLAGS, &ifr);
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

/* The wildcard doors take what comes for any of 127/8: all of it is local. */
static int doors(const struct egress_rule *rules, size_t nrules, int fds[static GATE_SOCKETS_MAX],
                 size_t *ret_n)
{
    uint16_t ports[EGRESS_PORTS_MAX];
    size_t n = GATE_PORTS, nports = egress_ports(rules, nrules, ports);
    fds[GATE_DNS_UDP] = door(SOCK_DGRAM, INADDR_LOOPBACK, 53);
    fds[GATE_DNS_TCP] = door(SOCK_STREAM, INADDR_LOOPBACK, 53);
    fds[GATE_PROXY] = door(SOCK_STREAM, INADDR_LOOPBACK, GATE_PROXY_PORT);
    fds[GATE_BROKER] = door(SOCK_STREAM, INADDR_LOOPBACK, GATE_BROKER_PORT);
    for (size_t i = 0; i < nports; i++)
        fds[n++] = door(SOCK_STREAM, INADDR_ANY, ports[i]);
    *ret_n = n;
    for (size_t i = 0; i < n; i++)
        if (fds[i] < 0)
            return -1;
    return 0;
}

int net_enter(const struct egress_rule *rules, size_t nrules, int fds[static GATE_SOCKETS_MAX],
              size_t *ret_n, struct err *err)
{
    *ret_n = 0;
    if (unshare(CLONE_NEWNET) < 0 || loopback_up() < 0)
        return err_errno(err, ERR_FAIL, "the jail's network cannot be made");
    if (rules && doors(rules, nrules, fds, ret_n) < 0) {
        int rc = err_errno(err, ERR_FAIL, "the egress gate's sockets cannot be made");
        fds_close(fds, *ret_n);
        *ret_n = 0;
        return rc;
    }
    return 0;
}
