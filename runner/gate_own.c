/* Reads the interfaces' addresses; see gate_own.h. */
#include "runner/gate_own.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool to_bytes(const struct sockaddr *sa, uint8_t out[static 16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (sa->sa_family == AF_INET) {
        memcpy(out, mapped, sizeof mapped);
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    } else {
        return false;
    }
    return true;
}

static void ask(struct gate_own *own, uint64_t now)
{
    struct ifaddrs *all;
    size_t room = 0;
    gate_own_done(own);
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        room++;
    own->list = calloc(room + 1, sizeof *own->list);
    for (const struct ifaddrs *i = all; i && own->list; i = i->ifa_next)
        own->n += i->ifa_addr && to_bytes(i->ifa_addr, own->list[own->n]);
    freeifaddrs(all);
    own->known = own->list != NULL;
    own->asked = now;
}

bool gate_own_has(struct gate_own *own, const struct sockaddr *sa, uint64_t now)
{
    uint8_t bytes[16];
    if (!own->known || now - own->asked >= GATE_OWN_MS)
        ask(own, now);
    if (!own->known || !to_bytes(sa, bytes))
        return true;
    for (size_t i = 0; i < own->n; i++)
        if (memcmp(own->list[i], bytes, sizeof bytes) == 0)
            return true;
    return false;
}

void gate_own_done(struct gate_own *own)
{
    free(own->list);
    *own = (struct gate_own){0};
}
