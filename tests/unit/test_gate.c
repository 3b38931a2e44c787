/* The egress gate from both sides: what a jail tries at each door, and what a server on the internet
 * gets to see of it. */
#include "tests/unit/gate_fixture.h"

/* ---- names ---- */

static void names_have_addresses_or_do_not_exist(void **state)
{
    with_world(w, "web.example.org *.wild.example.org");
    char ip[INET_ADDRSTRLEN], again[INET_ADDRSTRLEN];
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    assert_int_equal(strncmp(ip, "127.64.", 7), 0);
    assert_int_equal(resolve(w, "WEB.Example.ORG", A, again), DNS_OK);
    assert_string_equal(ip, again);
    assert_int_equal(resolve(w, "x.wild.example.org", A, again), DNS_OK);
    assert_string_not_equal(ip, again);
    assert_int_equal(resolve(w, WEB, AAAA, ip), DNS_OK);
    assert_string_equal(ip, "");
    assert_int_equal(resolve(w, "_http._tcp.web.example.org", SRV, ip), DNS_NXDOMAIN);
    assert_int_equal(w->nevents, 0);
    assert_int_equal(resolve(w, "secret.evil.example.net", A, ip), DNS_NXDOMAIN);
    event(w, EGRESS_DENIED, "secret.evil.example.net", 0);
    assert_int_equal(resolve(w, "wild.example.org", A, ip), DNS_NXDOMAIN);
    assert_int_equal(resolve(w, "localhost", A, ip), DNS_NXDOMAIN);
    assert_string_equal(event(w, EGRESS_DENIED, "localhost", 0)->why, "not a host name");
    assert_int_equal(w->gate->nlookups, 0);
    assert_int_equal(w->gate->dns, 8);
    gate_down(w);
}

static void questions_come_by_tcp_too(void **state)
{
    with_world(w, WEB);
    struct buf q, two;
    buf_init(&q, 512);
    buf_init(&two, 1024);
    add_question(&q, WEB, A);
    for (int i = 0; i < 2; i++) {
        add_be(&two, q.len, 2);
        buf_add(&two, q.data, q.len);
    }
    int fd = enter(w, "127.0.0.1", 53);
    say_bytes(w, fd, two.data, 5); /* cut anywhere */
    say_bytes(w, fd, two.data + 5, two.len - 5);
    buf_clear(&w->heard);
    until(w, take(w, fd) < 1 || w->heard.len == 2 * (2 + q.len + 16));
    assert_int_equal(w->heard.data[2 + 3] & 15, DNS_OK);
    shutdown(fd, SHUT_WR);
    assert_int_equal(hear_end(w, fd), 0);
    close(fd);
    assert_int_equal(w->gate->dns, 2);
    fd = enter(w, "127.0.0.1", 53);
    say_bytes(w, fd, "\xff\xff", 2); /* a message longer than any question */
    assert_int_equal(hear_end(w, fd), -1);
    close(fd);
    buf_done(&q);
    buf_done(&two);
    gate_down(w);
}

/* As many questions as fit in what is read at once are all answered. */
static void many_questions_in_one_piece(void **state)
{
    with_world(w, WEB);
    struct buf all;
    size_t answers = 0;
    buf_init(&all, 4096);
    for (; all.len < 1000; answers++) {
        add_be(&all, 12, 2); /* a query with no question in it, which is answered by as much */
        buf_add(&all, (uint8_t[12]){0}, 12);
    }
    int fd = enter(w, "127.0.0.1", 53);
    say_bytes(w, fd, all.data, all.len);
    buf_clear(&w->heard);
    until(w, take(w, fd) < 1 || w->heard.len == 14 * answers);
    assert_int_equal(w->heard.len, 14 * answers);
    assert_int_equal(w->gate->dns, answers);
    assert_int_equal(w->heard.data[2 + 3] & 15, DNS_FORMERR);
    close(fd);
    buf_done(&all);
    gate_down(w);
}

static void other_operations_are_not_answered(void **state)
{
    with_world(w, WEB);
    struct sockaddr_in door = address("127.0.0.1", 53);
    struct buf q;
    buf_init(&q, 512);
    add_question(&q, WEB, A);
    q.data[2] |= 4 << 3; /* NOTIFY */
    int fd = jail_socket(w, 'd');
    assert_int_equal(sendto(fd, q.data, q.len, 0, (struct sockaddr *)&door, sizeof door), q.len);
    buf_clear(&w->heard);
    until(w, take(w, fd) < 1 || w->heard.len > 0);
    assert_int_equal(w->heard.len, q.len);
    assert_int_equal(w->heard.data[3] & 15, DNS_NOTIMP);
    close(fd);
    buf_done(&q);
    gate_down(w);
}

static void names_are_bounded(void **state)
{
    struct gate_names *n = gate_names_new();
    char name[32];
    (void)state;
    for (unsigned i = 0; i < GATE_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "n%u.example.org", i);
        assert_int_equal(gate_names_address(n, name), 0x7f400001u + i);
    }
    assert_int_equal(gate_names_address(n, "one.more.example.org"), 0);
    assert_int_equal(gate_names_address(n, "n77.example.org"), 0x7f400001u + 77);
    assert_string_equal(gate_names_name(n, 0x7f400001u + 77), "n77.example.org");
    assert_null(gate_names_name(n, 0x7f400001u + GATE_NAMES_MAX));
    assert_null(gate_names_name(n, 0x7f400000u));
    assert_null(gate_names_name(n, 0x7f000001u));
    gate_names_free(n);
}

/* ---- requests ---- */

static void a_request_is_written_anew(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 80);
    int c = proxied(
        w, "POST http://Web.Example.org/p?q HTTP/1.1\r\nHost: web.example.org\r\n"
           "Proxy-Connection: keep-alive\r\nConnection: x-hop, keep-alive, Upgrade\r\nX-Hop: 1\r\n"
           "Upgrade: h2c\r\n"
           "Proxy-Authorization: Basic c2VjcmV0\r\nTE: trailers\r\nX-Kept: yes\r\n"
           "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
           "GET http://web.example.org/second HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    int s = accept_one(w, server);
    static const char want[] = "POST /p?q HTTP/1.1\r\nHost: web.example.org\r\nX-Kept: yes\r\n"
                               "Expect: 100-continue\r\nContent-Length: 4\r\n"
                               "Connection: close\r\n\r\nbody";
    hear_bytes(w, s, want, strlen(want));
    say(w, s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    hear(w, c, "\r\n\r\nok");
    say(w, c, "GET http://web.example.org/third HTTP/1.1\r\n\r\n");
    close(s);
    assert_int_equal(hear_end(w, c), 0);
    accept_none(w, server); /* one request a connection */
    close(c);
    const struct event_seen *e = event(w, EGRESS_ALLOWED, WEB, 80);
    assert_int_equal(e->sent, strlen(want));
    assert_int_equal(e->received, strlen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    assert_true(e->first);
    close(server);
    gate_down(w);
}

static void a_chunked_body_ends_where_it_ends(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 80);
    static const char body[] = "3\r\nabc\r\n0\r\n\r\n";
    int c = proxied(w, "PUT http://web.example.org/ HTTP/1.1\r\nHost: web.example.org\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n3\r\nab");
    int s = accept_one(w, server);
    hear(w, s, "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nab");
    say(w, c, "c\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    hear_bytes(w, s, body + 5, strlen(body + 5));
    close(c);
    close(s);
    until(w, w->nevents == 1);
    c = proxied(w, "PUT http://web.example.org/ HTTP/1.1\r\nHost: web.example.org\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n");
    s = accept_one(w, server);
    assert_int_equal(hear_end(w, c), -1);
    event(w, EGRESS_REFUSED, WEB, 80);
    close(c);
    close(s);
    close(server);
    gate_down(w);
}

static void what_no_rule_allows_is_denied_in_words(void **state)
{
    with_world(w, "web.example.org other.example.org:8443");
    static const struct {
        const char *request, *name, *flag;
        uint16_t port;
    } cases[] = {
        {"GET http://evil.example.net/ HTTP/1.1\r\nHost: evil.example.net\r\n\r\n",
         "evil.example.net", "--egress evil.example.net\n", 80},
        {"CONNECT evil.example.net:22 HTTP/1.0\r\n\r\n", "evil.example.net",
         "--egress evil.example.net:22\n", 22},
        {"CONNECT web.example.org:8443 HTTP/1.1\r\nHost: web.example.org:8443\r\n\r\n", WEB,
         "other ports only", 8443},
        {"CONNECT x.web.example.org:443 HTTP/1.1\r\n\r\n", "x.web.example.org",
         "This task may reach: web.example.org other.example.org:8443.", 443},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int c = proxied(w, cases[i].request);
        assert_int_equal(hear_end(w, c), 0);
        if (strncmp(buf_str(&w->heard), "HTTP/1.1 403 ", 13) != 0 ||
            !strstr(buf_str(&w->heard), cases[i].flag))
            fail_msg("%zu: %s", i, buf_str(&w->heard));
        event(w, EGRESS_DENIED, cases[i].name, cases[i].port);
        close(c);
    }
    assert_int_equal(w->gate->nlookups, 0);
    gate_down(w);
}

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
    with_world(w, WEB);
    static const char *const cases[] = {
        "GET http://web.example.org/ HTTP/1.1\r\nHost: evil.example.net\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: web.example.org\r\n\r\n",
        "GET http://5.5.5.5/ HTTP/1.1\r\nHost: 5.5.5.5\r\n\r\n",
        "CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
        "CONNECT [::ffff:7f00:1]:22 HTTP/1.1\r\n\r\n",
        "POST http://web.example.org/ HTTP/1.1\r\nHost: web.example.org\r\nContent-Length: 1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://web.example.org/ HTTP/1.1\nHost: web.example.org\n\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int c = proxied(w, cases[i]);
        assert_int_equal(hear_end(w, c), 0);
        if (strncmp(buf_str(&w->heard), "HTTP/1.1 400 ", 13) != 0)
            fail_msg("%zu: %s", i, buf_str(&w->heard));
        until(w, w->nevents == i + 1);
        assert_int_equal(w->events[i].verdict, EGRESS_REFUSED);
        assert_true(w->events[i].name[0] != 0);
        close(c);
    }
    assert_int_equal(w->gate->nlookups, 0);
    gate_down(w);
}

/* ---- tunnels ---- */

static void a_tunnel_is_for_the_name_that_was_judged(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 443);
    struct buf hello;
    buf_init(&hello, 4096);
    add_hello(&hello, "WEB.example.org", 7);
    int c = proxied(w, "CONNECT web.example.org:443 HTTP/1.1\r\nHost: web.example.org:443\r\n\r\n");
    int s = accept_one(w, server);
    hear(w, c, "HTTP/1.1 200 Connection established\r\n\r\n");
    say_bytes(w, c, hello.data, hello.len - 1);
    buf_clear(&w->heard);
    assert_int_equal(take(w, s), 1);
    assert_int_equal(w->heard.len, 0); /* held until it is judged */
    say_bytes(w, c, hello.data + hello.len - 1, 1);
    hear_bytes(w, s, hello.data, hello.len);
    say(w, s, "from the server");
    shutdown(s, SHUT_WR);
    assert_int_equal(hear_end(w, c), 0);
    assert_string_equal(buf_str(&w->heard), "from the server");
    say(w, c, "still from the client");
    hear(w, s, "still from the client");
    close(c);
    assert_int_equal(hear_end(w, s), 0);
    close(s);
    event(w, EGRESS_ALLOWED, WEB, 443);
    close(server);
    buf_done(&hello);
    gate_down(w);
}

/* The client's whole TLS bytes at once behind CONNECT: {bytes, what it says}. */
static void expect_alert(struct world *w, int c)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 112};
    assert_int_equal(hear_end(w, c), 0);
    assert_true(w->heard.len >= sizeof alert);
    assert_memory_equal(w->heard.data + w->heard.len - sizeof alert + 5, alert + 5, 2);
    assert_int_equal(w->heard.data[w->heard.len - sizeof alert], 21);
    close(c);
}

static void another_tls_name_is_refused(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 443);
    struct buf hello;
    buf_init(&hello, 4096);
    add_hello(&hello, "other.example.org", 4096);
    int c = proxied(w, "CONNECT web.example.org:443 HTTP/1.1\r\n\r\n");
    say_bytes(w, c, hello.data, hello.len); /* without waiting for the answer */
    int s = accept_one(w, server);
    expect_alert(w, c);
    assert_int_equal(hear_end(w, s), 0);
    assert_int_equal(w->heard.len, 0);
    assert_non_null(strstr(event(w, EGRESS_REFUSED, WEB, 443)->why, "other.example.org"));
    close(s);
    c = proxied(w, "CONNECT web.example.org:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    s = accept_one(w, server);
    expect_alert(w, c);
    assert_int_equal(hear_end(w, s), 0);
    assert_int_equal(w->heard.len, 0);
    close(s);
    close(server);
    buf_done(&hello);
    gate_down(w);
}

static void a_tunnel_to_port_80_carries_one_request(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 80);
    int c = proxied(w, "CONNECT web.example.org:80 HTTP/1.1\r\n\r\n");
    int s = accept_one(w, server);
    hear(w, c, "200");
    say(w, c, "GET /x HTTP/1.1\r\nHost: other.example.org\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 403 "));
    assert_int_equal(hear_end(w, s), 0);
    assert_int_equal(w->heard.len, 0);
    close(c);
    close(s);
    c = proxied(w, "CONNECT web.example.org:80 HTTP/1.1\r\n\r\n"
                   "GET /x HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    s = accept_one(w, server);
    hear(w, s, "GET /x HTTP/1.1\r\nHost: web.example.org\r\nConnection: close\r\n\r\n");
    close(c);
    close(s);
    close(server);
    gate_down(w);
}

/* ---- the ports' own doors ---- */

static void doors_take_connections_by_address(void **state)
{
    with_world(w, WEB);
    int tls = serve_at("5.5.5.5", 443), http = serve_at("5.5.5.5", 80);
    struct buf hello;
    char ip[INET_ADDRSTRLEN];
    buf_init(&hello, 4096);
    add_hello(&hello, WEB, 50);
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    int c = enter(w, ip, 443);
    accept_none(w, tls); /* no name, no connection */
    say_bytes(w, c, hello.data, hello.len);
    int s = accept_one(w, tls);
    hear_bytes(w, s, hello.data, hello.len);
    close(c);
    close(s);
    c = enter(w, ip, 80);
    say(w, c, "GET /y HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    s = accept_one(w, http);
    hear(w, s, "GET /y HTTP/1.1\r\nHost: web.example.org\r\nConnection: close\r\n\r\n");
    close(c);
    close(s);
    c = enter(w, ip, 80);
    say(w, c, "GET /y HTTP/1.1\r\nHost: other.example.org\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    event(w, EGRESS_REFUSED, WEB, 80);
    close(c);
    c = enter(w, ip, 80);
    say(w, c, "GET http://web.example.org/y HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 400 "));
    close(c);
    close(tls);
    close(http);
    buf_done(&hello);
    gate_down(w);
}

static void addresses_without_a_name_are_denied(void **state)
{
    with_world(w, WEB);
    int c = enter(w, "127.64.9.9", 443);
    expect_alert(w, c);
    event(w, EGRESS_DENIED, "127.64.9.9", 443);
    c = enter(w, "127.0.0.1", 80);
    say(w, c, "GET / HTTP/1.1\r\nHost: web.example.org\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 403 "));
    event(w, EGRESS_DENIED, "127.0.0.1", 80);
    close(c);
    c = enter(w, "127.0.0.1", GATE_BROKER_PORT);
    say(w, c, "POST /v1/responses HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "this task has no broker"));
    close(c);
    gate_down(w);
}

static void at_other_ports_the_server_may_speak_first(void **state)
{
    with_world(w, "web.example.org:2222");
    int server = serve_at("5.5.5.5", 2222);
    struct buf hello;
    char ip[INET_ADDRSTRLEN];
    buf_init(&hello, 4096);
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    int c = enter(w, ip, 2222);
    int s = accept_one(w, server);
    say(w, s, "SSH-2.0-x\r\n");
    hear(w, c, "SSH-2.0-x\r\n");
    say(w, c, "SSH-2.0-y\r\n");
    hear(w, s, "SSH-2.0-y\r\n");
    close(c);
    close(s);
    until(w, w->nevents == 1);
    add_hello(&hello, "other.example.org", 20);
    c = enter(w, ip, 2222);
    s = accept_one(w, server);
    say_bytes(w, c, hello.data, hello.len);
    expect_alert(w, c);
    assert_int_equal(hear_end(w, s), 0);
    assert_int_equal(w->heard.len, 0);
    event(w, EGRESS_REFUSED, WEB, 2222);
    close(s);
    buf_clear(&hello);
    add_hello(&hello, WEB, 20);
    c = enter(w, ip, 2222);
    s = accept_one(w, server);
    say_bytes(w, c, hello.data, hello.len);
    hear_bytes(w, s, hello.data, hello.len);
    close(c);
    close(s);
    close(server);
    buf_done(&hello);
    gate_down(w);
}

/* ---- addresses ---- */

static void addresses_are_judged_when_they_are_dialled(void **state)
{
    static const char *const bad[] = {"127.0.0.1",      "10.1.2.3",   "169.254.169.254",
                                      "192.168.0.1",    "100.64.0.1", "::1",
                                      "::ffff:5.5.5.5", "fe80::1",    "0.0.0.0"};
    with_world(w, WEB);
    int loop = serve_at("127.0.0.1", 80), server = serve_at("5.5.5.5", 80);
    char text[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s web.example.org\n", bad[i]);
        hosts(text);
        int c = proxied(w, ASK);
        assert_int_equal(hear_end(w, c), 0);
        if (strncmp(buf_str(&w->heard), "HTTP/1.1 403 ", 13) != 0)
            fail_msg("%s: %s", bad[i], buf_str(&w->heard));
        event(w, EGRESS_REFUSED, WEB, 80);
        close(c);
    }
    hosts("127.0.0.1 web.example.org\n10.0.0.1 web.example.org\n5.5.5.5 web.example.org\n");
    int c = proxied(w, ASK);
    int s = accept_one(w, server); /* the good one of them */
    close(c);
    close(s);
    accept_none(w, loop);
    close(loop);
    close(server);
    gate_down(w);
}

/* A name that is looked up again is judged again: what was good before helps nothing. */
static void a_name_that_moves_inside_is_refused(void **state)
{
    with_world(w, WEB);
    int loop = serve_at("127.0.0.1", 80), server = serve_at("5.5.5.5", 80);
    int c = proxied(w, ASK), s = accept_one(w, server);
    hear(w, s, "GET / ");
    hosts("127.0.0.1 web.example.org\n");
    say(w, s, "HTTP/1.0 200 OK\r\n\r\nfirst");
    close(s);
    assert_int_equal(hear_end(w, c), 0);
    close(c);
    c = proxied(w, ASK);
    assert_int_equal(hear_end(w, c), 0);
    event(w, EGRESS_REFUSED, WEB, 80);
    accept_none(w, loop);
    close(c);
    close(loop);
    close(server);
    gate_down(w);
}

static void the_operator_may_reach_private_networks(void **state)
{
    struct addr_net net;
    with_world(w, WEB);
    assert_int_equal(addr_net_parse("5.5.5.0/24", &net, NULL), 0);
    w->host = (struct gate_host){.reach = &net, .nreach = 1};
    hosts("10.1.2.3 web.example.org\n");
    int c = proxied(w, ASK);
    assert_int_equal(hear_end(w, c), 0);
    event(w, EGRESS_REFUSED, WEB, 80); /* not that one */
    close(c);
    assert_int_equal(addr_net_parse("10.1.0.0/16", &net, NULL), 0);
    c = proxied(w, ASK);
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 502 ")); /* dialled: nobody is there */
    event(w, EGRESS_FAILED, WEB, 80);
    close(c);
    gate_down(w);
}

/* What listens on the host's own addresses is behind its firewall for others, not for the gate; a
 * network that the operator listed may hold such an address, and does not open it. */
static void the_host_itself_is_no_destination(void **state)
{
    with_world(w, WEB);
    struct ifreq ifr = {.ifr_name = "lo:1"};
    struct sockaddr_in own = address("5.5.6.6", 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(&ifr.ifr_addr, &own, sizeof own);
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &ifr), 0);
    int server = serve_at("5.5.6.6", 80);
    hosts("5.5.6.6 web.example.org\n");
    int c = proxied(w, ASK);
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(event(w, EGRESS_REFUSED, WEB, 80)->why, "this host's own"));
    close(c);
    struct addr_net net;
    assert_int_equal(addr_net_parse("5.5.6.0/24", &net, NULL), 0);
    w->host = (struct gate_host){.reach = &net, .nreach = 1};
    c = proxied(w, ASK);
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(event(w, EGRESS_REFUSED, WEB, 80)->why, "this host's own"));
    accept_none(w, server);
    close(c);
    assert_int_equal(addr_net_parse("5.5.6.6", &net, NULL), 0); /* listed by itself */
    c = proxied(w, ASK);
    close(accept_one(w, server));
    close(c);
    ifr.ifr_flags = 0;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
    close(fd);
    close(server);
    gate_down(w);
}

static void failures_of_the_network_are_told(void **state)
{
    with_world(w, "web.example.org gone.example.org");
    int c = proxied(w, ASK); /* nobody listens */
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 502 "));
    assert_non_null(strstr(event(w, EGRESS_FAILED, WEB, 80)->why, "refused"));
    close(c);
    c = proxied(w, "CONNECT gone.example.org:443 HTTP/1.1\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 502 "));
    event(w, EGRESS_FAILED, "gone.example.org", 443);
    close(c);
    gate_down(w);
}

/* ---- the end ---- */

/* A listener that takes nobody: connections to it stay in the making. */
static int deaf_at(const char *ip, uint16_t port, int fill[2])
{
    struct sockaddr_in sin = address(ip, port);
    int fd = serve_at(ip, port);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 2; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&sin, sizeof sin);
    }
    return fd;
}

static void a_gate_can_be_closed_in_every_state(void **state)
{
    with_world(w, "web.example.org *.wild.example.org");
    int fill[2], fds[8], n = 0;
    char ip[INET_ADDRSTRLEN];
    int deaf = deaf_at("5.5.5.5", 443, fill), server = serve_at("5.5.5.5", 80);
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    fds[n++] = proxied(w, "GET http://web");                               /* head */
    fds[n++] = enter(w, ip, 443);                                          /* hello */
    fds[n++] = proxied(w, "CONNECT web.example.org:443 HTTP/1.1\r\n\r\n"); /* dial */
    fds[n++] = proxied(w, ASK);                                            /* flow */
    int s = accept_one(w, server);
    fds[n++] = proxied(w, "CONNECT evil.example.net:443 HTTP/1.1\r\n\r\n"); /* linger */
    fds[n++] = enter(w, "127.0.0.1", 53);
    say_bytes(w, fds[n - 1], "\0", 1);
    until(w, w->gate->nconns == 6);
    unsigned phases = 0;
    for (const struct gate_conn *c = w->gate->conns; c; c = c->next)
        phases |= 1u << c->phase;
    assert_int_equal(phases, (1u << (PHASE_DNS + 1)) - 1);
    fds[n++] = proxied(w, ASK); /* a look-up that nobody will wait for */
    struct result r = {0};
    gate_close(w->gate);
    assert_int_equal(gate_report(w->gate, &r), 0);
    assert_int_equal(r.conns, 6);
    assert_true(r.egress.n >= 5);
    result_done(&r);
    size_t before = w->nevents;
    until(w, w->closed);
    assert_int_equal(w->nevents, before);
    for (int i = 0; i < n; i++)
        close(fds[i]);
    close(s);
    close(fill[0]);
    close(fill[1]);
    close(deaf);
    close(server);
    gate_down(w);
}

static void what_is_abandoned_in_a_look_up_is_freed(void **state)
{
    with_world(w, WEB);
    int fds[12];
    for (int i = 0; i < 12; i++)
        fds[i] = enter(w, "127.0.0.1", GATE_PROXY_PORT);
    until(w, w->gate->nconns == 12);
    for (int i = 0; i < 12; i++)
        assert_int_equal(send(fds[i], ASK, strlen(ASK), 0), strlen(ASK));
    until(w, w->gate->nlookups > 0 || w->nevents > 0);
    assert_true(w->gate->nlookups <= GATE_LOOKUPS_MAX);
    gate_close(w->gate);
    until(w, w->closed);
    for (int i = 0; i < 12; i++)
        close(fds[i]);
    gate_down(w);
}

static void too_few_sockets_are_no_gate(void **state)
{
    struct err err = ERR_INIT;
    struct gate *g;
    struct policy p;
    struct gate_host host = {0};
    uv_loop_t loop;
    int fds[2];
    (void)state;
    policy_init(&p);
    uv_loop_init(&loop);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const struct gate_setup setup = {.loop = &loop, .host = &host, .policy = &p};
    assert_says(gate_open(&setup, fds, 2, &g, &err), "2 sockets");
    assert_null(g);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* taken, also on failure */
    assert_int_equal(uv_loop_close(&loop), 0);
    policy_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_addresses_or_do_not_exist),
        cmocka_unit_test(questions_come_by_tcp_too),
        cmocka_unit_test(many_questions_in_one_piece),
        cmocka_unit_test(other_operations_are_not_answered),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(a_request_is_written_anew),
        cmocka_unit_test(a_chunked_body_ends_where_it_ends),
        cmocka_unit_test(what_no_rule_allows_is_denied_in_words),
        cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(a_tunnel_is_for_the_name_that_was_judged),
        cmocka_unit_test(another_tls_name_is_refused),
        cmocka_unit_test(a_tunnel_to_port_80_carries_one_request),
        cmocka_unit_test(doors_take_connections_by_address),
        cmocka_unit_test(addresses_without_a_name_are_denied),
        cmocka_unit_test(at_other_ports_the_server_may_speak_first),
        cmocka_unit_test(addresses_are_judged_when_they_are_dialled),
        cmocka_unit_test(a_name_that_moves_inside_is_refused),
        cmocka_unit_test(the_operator_may_reach_private_networks),
        cmocka_unit_test(the_host_itself_is_no_destination),
        cmocka_unit_test(failures_of_the_network_are_told),
        cmocka_unit_test(a_gate_can_be_closed_in_every_state),
        cmocka_unit_test(what_is_abandoned_in_a_look_up_is_freed),
        cmocka_unit_test(too_few_sockets_are_no_gate),
    };
    return cmocka_run_group_tests(tests, world_make, world_unmake);
}
