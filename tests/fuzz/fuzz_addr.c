/* Addresses and networks from any bytes: 16 bytes of address, one that says the family, then lines of
 * networks as an operator types them. What may be dialled is judged again by plain comparisons. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "runner/addr.h"
#include "tests/fuzz/fuzz.h"

#define NETS_MAX 8

static bool local4(uint32_t a)
{
    return a >> 24 == 0 || a >> 24 == 127 || a >> 16 == 0xa9fe || a >> 28 == 14 || a == 0xffffffff;
}

static bool special4(uint32_t a)
{
    return local4(a) || a >> 24 == 10 || a >> 22 == 0x6440 >> 6 || a >> 20 == 0xac1 ||
           a >> 16 == 0xc0a8 || a >> 8 == 0xc00000 || a >> 8 == 0xc00002 || a >> 8 == 0xc05863 ||
           a >> 17 == 0xc612 >> 1 || a >> 8 == 0xc63364 || a >> 8 == 0xcb0071 || a >> 28 == 15 ||
           a == 0xa83f8110;
}

static bool local6(const uint8_t *b)
{
    static const uint8_t zero[15];
    return (memcmp(b, zero, 15) == 0 && b[15] <= 1) || b[0] == 0xff ||
           (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) ||
           (memcmp(b, zero, 10) == 0 && (b[10] == b[11]) && (b[10] == 0xff || b[10] == 0)) ||
           (b[0] == 0x20 && b[1] == 2) || (b[0] == 0x20 && b[1] == 1 && b[2] == 0 && b[3] == 0);
}

static bool special6(const uint8_t *b)
{
    return local6(b) || b[0] >> 5 != 1 || (b[0] == 0x20 && b[1] == 1 && b[2] < 2) ||
           (b[0] == 0x20 && b[1] == 1 && b[2] == 0x0d && b[3] == 0xb8) ||
           (b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10);
}

static void try_net(const char *text, struct addr_net *nets, size_t *n)
{
    struct err err = ERR_INIT;
    struct addr_net net, again;
    char shown[INET6_ADDRSTRLEN + 8];
    if (addr_net_parse(text, &net, &err) < 0) {
        MUST(err.code == ERR_USAGE && err.msg[0]);
        return;
    }
    MUST(net.prefix <= 128);
    bool four = !strchr(text, ':');
    MUST(inet_ntop(four ? AF_INET : AF_INET6, net.bytes + (four ? 12 : 0), shown, sizeof shown));
    sprintf(shown + strlen(shown), "/%d", four ? net.prefix - 96 : net.prefix);
    MUST(addr_net_parse(shown, &again, &err) == 0 && memcmp(&again, &net, sizeof net) == 0);
    if (*n < NETS_MAX)
        nets[(*n)++] = net;
}

static const char *refused(const uint8_t *b, bool four, const struct addr_net *nets, size_t n)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memcpy(&in4.sin_addr, b + 12, 4);
    memcpy(&in6.sin6_addr, b, 16);
    return addr_refused(four ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6, nets, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct addr_net nets[NETS_MAX];
    size_t n = 0;
    if (len < 17)
        return 0;
    bool four = bytes[16] & 1;
    uint32_t a = (uint32_t)bytes[12] << 24 | (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 |
                 bytes[15];
    if (!refused(bytes, four, NULL, 0))
        MUST(!(four ? special4(a) : special6(bytes)));
    char *text = malloc(len - 16), *line;
    MUST(text);
    memcpy(text, bytes + 17, len - 17);
    text[len - 17] = 0;
    for (char *rest = text; (line = strsep(&rest, "\n"));)
        try_net(line, nets, &n);
    free(text);
    if (refused(bytes, four, nets, n))
        return 0;
    MUST(!(four ? local4(a) : local6(bytes)));
    if (!refused(bytes, four, NULL, 0))
        return 0;
    /* Then a network of the operator's holds it, bit by bit. */
    bool held = false;
    for (size_t i = 0; i < n; i++) {
        uint8_t b[16] = {[10] = 0xff, [11] = 0xff};
        unsigned bit = 0;
        memcpy(four ? b + 12 : b, four ? bytes + 12 : bytes, four ? 4 : 16);
        while (bit < nets[i].prefix && !((b[bit / 8] ^ nets[i].bytes[bit / 8]) & (0x80 >> bit % 8)))
            bit++;
        held = held || bit == nets[i].prefix;
    }
    MUST(held);
    return 0;
}
