/* Addresses that the gate may and may not dial, the operator's exceptions, and how these are written. */
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "runner/addr.h"

static struct err err;

static const char *judge(const char *text, const struct addr_net *reach, size_t n)
{
    struct sockaddr_in six4 = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct sockaddr_in6 six6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    if (inet_pton(AF_INET, text, &six4.sin_addr) == 1)
        return addr_refused((struct sockaddr *)&six4, reach, n);
    if (inet_pton(AF_INET6, text, &six6.sin6_addr) != 1)
        fail_msg("the test's own address: %s", text);
    return addr_refused((struct sockaddr *)&six6, reach, n);
}

/* The first and the last address of each range, and beside them what may be dialled. */
static const struct row {
    const char *addr, *why; /* NULL: may be dialled */
} rows[] = {
    {"0.0.0.0", "unspecified"},
    {"0.0.0.1", "this network"},
    {"0.255.255.255", "this network"},
    {"1.0.0.0", NULL},
    {"1.1.1.1", NULL},
    {"9.255.255.255", NULL},
    {"10.0.0.0", "private"},
    {"10.255.255.255", "private"},
    {"11.0.0.0", NULL},
    {"100.63.255.255", NULL},
    {"100.64.0.0", "carrier NAT"},
    {"100.100.100.199", "carrier NAT"},
    {"100.100.100.200", "cloud metadata"},
    {"100.100.100.201", "carrier NAT"},
    {"100.127.255.255", "carrier NAT"},
    {"100.128.0.0", NULL},
    {"126.255.255.255", NULL},
    {"127.0.0.0", "loopback"},
    {"127.0.0.1", "loopback"},
    {"127.64.0.9", "loopback"},
    {"127.255.255.255", "loopback"},
    {"128.0.0.0", NULL},
    {"168.63.129.15", NULL},
    {"168.63.129.16", "cloud metadata"},
    {"168.63.129.17", NULL},
    {"169.253.255.255", NULL},
    {"169.254.0.0", "link-local"},
    {"169.254.169.254", "link-local"},
    {"169.254.170.2", "link-local"},
    {"169.254.255.255", "link-local"},
    {"169.255.0.0", NULL},
    {"172.15.255.255", NULL},
    {"172.16.0.0", "private"},
    {"172.31.255.255", "private"},
    {"172.32.0.0", NULL},
    {"191.255.255.255", NULL},
    {"192.0.0.0", "protocol assignment"},
    {"192.0.0.170", "protocol assignment"},
    {"192.0.0.191", "protocol assignment"},
    {"192.0.0.192", "cloud metadata"},
    {"192.0.0.255", "protocol assignment"},
    {"192.0.1.0", NULL},
    {"192.0.2.0", "documentation"},
    {"192.0.2.255", "documentation"},
    {"192.0.3.0", NULL},
    {"192.31.196.1", "AS112"},
    {"192.52.193.1", "multicast relay"},
    {"192.88.99.1", "6to4 relay"},
    {"192.167.255.255", NULL},
    {"192.168.0.0", "private"},
    {"192.168.255.255", "private"},
    {"192.169.0.0", NULL},
    {"192.175.48.1", "AS112"},
    {"198.17.255.255", NULL},
    {"198.18.0.0", "benchmarking"},
    {"198.19.255.255", "benchmarking"},
    {"198.20.0.0", NULL},
    {"198.51.100.0", "documentation"},
    {"198.51.100.255", "documentation"},
    {"203.0.113.0", "documentation"},
    {"203.0.113.255", "documentation"},
    {"203.0.114.0", NULL},
    {"223.255.255.255", NULL},
    {"224.0.0.0", "multicast"},
    {"239.255.255.255", "multicast"},
    {"240.0.0.0", "reserved"},
    {"255.255.255.254", "reserved"},
    {"255.255.255.255", "broadcast"},
    {"::", "unspecified"},
    {"::1", "loopback"},
    {"::2", "IPv4-compatible"},
    {"::7f00:1", "IPv4-compatible"},
    {"::808:808", "IPv4-compatible"},
    {"::ffff:127.0.0.1", "IPv4-mapped"},
    {"::ffff:10.0.0.1", "IPv4-mapped"},
    {"::ffff:8.8.8.8", "IPv4-mapped"},
    {"::ffff:0:8.8.8.8", "IPv4-translated"},
    {"::1:0:0:0", "not a global address"},
    {"64:ff9b::a00:1", "NAT64"},
    {"64:ff9b::808:808", "NAT64"},
    {"64:ff9b:1::808:808", "NAT64"},
    {"64:ff9b:1:ffff::1", "NAT64"},
    {"64:ff9b:2::1", "not a global address"},
    {"100::1", "discard"},
    {"100:0:0:1::1", "discard"},
    {"200::1", "not a global address"},
    {"1fff:ffff::1", "not a global address"},
    {"2001::1", "Teredo"},
    {"2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"},
    {"2001:1::1", "protocol assignment"},
    {"2001:2::1", "benchmarking"},
    {"2001:2:1::1", "protocol assignment"},
    {"2001:10::1", "protocol assignment"},
    {"2001:20::1", "protocol assignment"},
    {"2001:1ff:ffff::1", "protocol assignment"},
    {"2001:200::1", NULL},
    {"2001:4860:4860::8888", NULL},
    {"2001:db7:ffff::1", NULL},
    {"2001:db8::1", "documentation"},
    {"2001:db8:ffff::1", "documentation"},
    {"2001:db9::1", NULL},
    {"2002:a00:1::", "6to4"},
    {"2002:808:808::1", "6to4"},
    {"2003::1", NULL},
    {"2600::1", NULL},
    {"2606:4700:4700::1111", NULL},
    {"2620:4f:8000::1", "AS112"},
    {"3fff::1", "documentation"},
    {"3fff:fff::1", "documentation"},
    {"3fff:1000::1", NULL},
    {"4000::1", "not a global address"},
    {"5f00::1", "segment routing"},
    {"fbff::1", "not a global address"},
    {"fc00::1", "private"},
    {"fd00:ec2::253", "private"},
    {"fd00:ec2::254", "cloud metadata"},
    {"fd20:ce::254", "cloud metadata"},
    {"fdff::1", "private"},
    {"fe00::1", "not a global address"},
    {"fe80::1", "link-local"},
    {"febf::1", "link-local"},
    {"fec0::1", "site-local"},
    {"feff::1", "site-local"},
    {"ff00::1", "multicast"},
    {"ff02::1", "multicast"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
};

static void the_table(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why = judge(rows[i].addr, NULL, 0);
        if (!why != !rows[i].why || (why && strncmp(why, rows[i].why, strlen(rows[i].why)) != 0))
            fail_msg("%s: %s, not %s", rows[i].addr, why ? why : "may be dialled",
                     rows[i].why ? rows[i].why : "may be dialled");
    }
}

static void other_families(void **state)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNIX};
    assert_string_equal(addr_refused((struct sockaddr *)&ss, NULL, 0), "not an internet address");
    ss.ss_family = AF_UNSPEC;
    assert_string_equal(addr_refused((struct sockaddr *)&ss, NULL, 0), "not an internet address");
}

static void the_operators_exceptions(void **state)
{
    static const char *const nets[] = {"10.1.0.0/16", "fd00::/8", "198.18.0.0/15", "64:ff9b::/96",
                                       "192.0.2.7"};
    static const struct row with[] = {
        {"10.1.2.3", NULL},
        {"10.2.0.0", "private"},
        {"fd12::1", NULL},
        {"fc00::1", "private"},
        {"198.19.1.1", NULL},
        {"192.0.2.7", NULL},
        {"192.0.2.8", "documentation"},
        {"::ffff:10.1.2.3", "IPv4-mapped"},
        {"::10.1.2.3", "IPv4-compatible"},
        {"64:ff9b::808:808", NULL},
        {"64:ff9b::7f00:1", "NAT64 of an address that is not public"},
        {"64:ff9b::a9fe:a9fe", "NAT64 of an address that is not public"},
        {"64:ff9b::a01:203", "NAT64 of an address that is not public"},
        {"8.8.8.8", NULL},
        {"127.0.0.1", "loopback"},
    };
    struct addr_net reach[5];
    for (size_t i = 0; i < 5; i++)
        assert_ok(addr_net_parse(nets[i], &reach[i], &err));
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        const char *why = judge(with[i].addr, reach, 5);
        if (!why != !with[i].why || (why && strncmp(why, with[i].why, strlen(with[i].why)) != 0))
            fail_msg("%s: %s, not %s", with[i].addr, why ? why : "may be dialled",
                     with[i].why ? with[i].why : "may be dialled");
    }
}

/* Listing everything opens what is private, and still none of these. */
static void never_whatever_is_listed(void **state)
{
    static const char *const never[] = {
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::a00:1",
        "::ffff:0:a00:1",
        "2001::1",
        "2002:a00:1::",
        "fe80::1",
        "ff02::1",
        "64:ff9b:1::a00:1",
        "64:ff9b::7f00:1",
    };
    struct addr_net all[2];
    assert_ok(addr_net_parse("0.0.0.0/0", &all[0], &err));
    assert_ok(addr_net_parse("::/0", &all[1], &err));
    assert_null(judge("10.0.0.1", all, 2));
    assert_null(judge("fd00::1", all, 2));
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!judge(never[i], all, 2))
            fail_msg("%s may be dialled", never[i]);
    /* A network of one family lists nothing of the other. */
    assert_non_null(judge("10.0.0.1", &all[1], 1));
    assert_non_null(judge("fd00::1", &all[0], 1));
}

static void networks_as_typed(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.0/1000",
        "10/8",
        "10.0.0/24",
        "010.0.0.0/8",
        "0x0a.0.0.0/8",
        "10.0.0.256",
        "10.0.0.0.0",
        "167772160",
        "fd00::/129",
        "fd00::/0128",
        "[fd00::]/8",
        "fd00::%lo/8",
        "fe80:::1",
        "example.org",
        "example.org/8",
        "::ffff:10.0.0.0/104",
        "::ffff:10.0.0.1",
        "::ffff:0:0/96",
        "10.0.0.0/255.0.0.0",
        "fd00:0000:0000:0000:0000:0000:0000:0000:0000/8",
        "fd00:0000:0000:0000:0000:0000:255.255.255.2555555555",
    };
    static const char *const host_bits[] = {"10.0.0.1/8",  "10.1.0.0/8", "fd00::1/8",
                                            "10.0.0.1/31", "fd80::/8",   "0.0.0.1/0"};
    struct addr_net net;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (addr_net_parse(bad[i], &net, &err) != -ERR_USAGE)
            fail_msg("%s is taken", bad[i]);
    for (size_t i = 0; i < sizeof host_bits / sizeof *host_bits; i++)
        assert_says(addr_net_parse(host_bits[i], &net, &err), "bits set behind its prefix");
    assert_ok(addr_net_parse("10.0.0.0/8", &net, &err));
    assert_int_equal(net.prefix, 104);
    assert_memory_equal(net.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\0", 16);
    assert_ok(addr_net_parse("192.0.2.7", &net, &err));
    assert_int_equal(net.prefix, 128);
    assert_ok(addr_net_parse("fd00::/8", &net, &err));
    assert_int_equal(net.prefix, 8);
    assert_ok(addr_net_parse("0.0.0.0/0", &net, &err));
    assert_int_equal(net.prefix, 96);
    assert_ok(addr_net_parse("::/0", &net, &err));
    assert_int_equal(net.prefix, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table),
        cmocka_unit_test(other_families),
        cmocka_unit_test(the_operators_exceptions),
        cmocka_unit_test(never_whatever_is_listed),
        cmocka_unit_test(networks_as_typed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
