/* Sockets: families and protocols that reach past the jail's own loopback, or are kernel surface that
 * no job needs. What the egress gate is asked for is in the network cases, not here. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "tests/escape/attacks/attack.h"

#define FILTER "system call filter, by family and protocol"

static void packet(char **args)
{
    filtered(socket(AF_PACKET, SOCK_RAW, 0x0300), "AF_PACKET");
    filtered(syscall(SYS_socket, (1ul << 32) | AF_PACKET, SOCK_RAW, 0x0300),
             "AF_PACKET, a high bit");
    /* An old way to say the same, by a family that is allowed. */
    filtered(socket(AF_INET, SOCK_PACKET, 0), "SOCK_PACKET");
    filtered(socket(AF_INET, SOCK_PACKET | SOCK_CLOEXEC, 0), "SOCK_PACKET with a flag");
    blocked("socket(AF_PACKET), SOCK_PACKET of AF_INET: %s", strerror(errno));
}

static void vsock(char **args)
{
    filtered(socket(AF_VSOCK, SOCK_STREAM, 0), "AF_VSOCK");
    blocked("socket(AF_VSOCK): %s", strerror(errno));
}

static void raw(char **args)
{
    static const int protocols[] = {IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_RAW, IPPROTO_UDP};
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        int fd = socket(AF_INET, SOCK_RAW, protocols[i]);
        filtered(fd, "a raw socket");
        fd = socket(AF_INET6, SOCK_RAW, protocols[i]);
        filtered(fd, "a raw IPv6 socket");
    }
    filtered(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), "a ping socket");
    blocked("raw IPv4 and IPv6, ping: %s", strerror(errno));
}

static void families(char **args)
{
    /* unspecified, ax25 ... key, netrom, ash, rds, irda, pppox, llc, can, tipc, bluetooth, iucv, rxrpc,
     * isdn, phonet, caif, alg, nfc, kcm, qipcrtr, smc, xdp, mctp */
    static const int numbers[] = {0,  3,  4,  5,  6,  7,  8,  9,  11, 15, 19, 20,
                                  21, 23, 24, 26, 27, 28, 29, 30, 31, 32, 33, 34,
                                  35, 36, 37, 38, 39, 41, 42, 43, 44, 45};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++)
            filtered(socket(numbers[i], type, 0), "a socket of a strange family");
    blocked("%zu families, AF_ALG and AF_XDP among them: %s", sizeof numbers / sizeof *numbers,
            strerror(errno));
}

/* Each would have the kernel load a module from disk. */
static void protocols(char **args)
{
    filtered(socket(AF_INET, SOCK_STREAM, 132 /* SCTP */), "SCTP");
    filtered(socket(AF_INET, SOCK_DGRAM, 136 /* UDP-Lite */), "UDP-Lite");
    filtered(socket(AF_INET, SOCK_DCCP, 33), "DCCP");
    filtered(socket(AF_INET6, SOCK_STREAM, 132), "SCTP over IPv6");
    filtered(socket(AF_INET, SOCK_DGRAM, 115 /* L2TP */), "L2TP");
    blocked("SCTP, UDP-Lite, DCCP, L2TP: %s", strerror(errno));
}

static void netlink_kinds(char **args)
{
    for (int kind = 1; kind < 32; kind++)
        filtered(socket(AF_NETLINK, SOCK_RAW, kind), "another netlink");
    blocked("30 kinds of netlink, netfilter, audit and uevents among them: %s", strerror(errno));
}

/* NETLINK_ROUTE is there for reading: what an interface or a route is made with must not work. */
static void netlink_route(char **args)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
        struct rtattr attr;
        char name[16];
        struct rtattr link, kind;
        char text[8];
    } ask = {
        .head = {sizeof ask, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, 1, 0},
        .attr = {sizeof(struct rtattr) + 16, IFLA_IFNAME},
        .name = "escaped0",
        .link = {2 * sizeof(struct rtattr) + 8, IFLA_LINKINFO},
        .kind = {sizeof(struct rtattr) + 8, 1 /* IFLA_INFO_KIND */},
        .text = "dummy",
    };
    struct {
        struct nlmsghdr head;
        struct nlmsgerr err;
    } answer = {0};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        blocked("no netlink at all: %s", strerror(errno));
    if (send(fd, &ask, sizeof ask, 0) < 0)
        blocked("send: %s", strerror(errno));
    if (recv(fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer.head)
        blocked("no answer: %s", strerror(errno));
    if (answer.head.nlmsg_type == NLMSG_ERROR && answer.err.error == 0)
        got("an interface was made");
    struct ifreq lo = {.ifr_name = "lo"};
    int inet = socket(AF_INET, SOCK_DGRAM, 0);
    refused(ioctl(inet, SIOCSIFFLAGS, &lo), "lo was taken down");
    blocked("a new interface: %s; lo down: %s", strerror(-answer.err.error), strerror(errno));
}

/* The driver holds a socket of this abstract name on the host. */
static void abstract_host(char **args)
{
    static const char *const names[] = {MARK "-host", "creel-runner",
                                        "/org/freedesktop/systemd1/notify"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        strcpy(un.sun_path + 1, names[i]);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(names[i]));
        refused(connect(fd, (struct sockaddr *)&un, len), names[i]);
    }
    blocked("connect to the host's abstract socket: %s", strerror(errno));
}

static void socket_paths(char **args)
{
    static const char *const paths[] = {
        "/run/creel-runner/runner.sock",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/run/systemd/journal/socket",
        "/run/systemd/resolve/io.systemd.Resolve",
        "/run/nscd/socket",
        "/run/user/0/bus",
        "/run/containerd/containerd.sock",
        "/run/udev/control",
        "/dev/log",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        strcpy(un.sun_path, paths[i]);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0 || errno != ENOENT)
            got("%s is there: %s", paths[i], strerror(errno));
    }
    blocked("%zu sockets of services: %s", sizeof paths / sizeof *paths, strerror(errno));
}

const struct attack attacks_socket[] = {
    {"packet-socket", "read the wire by AF_PACKET", FILTER, ANYWHERE, "", packet},
    {"vsock", "talk to the hypervisor", FILTER, ANYWHERE, "", vsock},
    {"raw-socket", "raw and ping sockets", FILTER, ANYWHERE, "", raw},
    {"socket-families", "34 other socket families", FILTER, ANYWHERE, "", families},
    {"socket-protocols", "protocols that are modules", FILTER, ANYWHERE, "", protocols},
    {"netlink", "every kind of netlink but routes", FILTER, ANYWHERE, "", netlink_kinds},
    {"interface", "make an interface, take lo down", "no capability in the network namespace",
     ANYWHERE, "", netlink_route},
    {"abstract-socket", "connect to the host's abstract sockets", "network namespace", ANYWHERE, "",
     abstract_host},
    {"service-sockets", "connect to sockets of the host's services",
     "they are not in the jail's tree", ANYWHERE, "", socket_paths},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
