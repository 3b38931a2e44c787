/* What the egress gate bounds: questions, connections, bytes, its account, and the patience it has with
 * slow clients. */
#include "tests/unit/gate_fixture.h"

static void questions_are_limited(void **state)
{
    with_world(w, WEB);
    struct result r = {0};
    char ip[INET_ADDRSTRLEN];
    w->policy.limits[LIMIT_DNS] = 2;
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(resolve(w, WEB, A, ip), DNS_REFUSED);
    assert_int_equal(w->nevents, 1);
    event(w, EGRESS_LIMITED, WEB, 0);
    assert_int_equal(gate_report(w->gate, &r), 0);
    assert_int_equal(r.dns, 5);
    assert_int_equal(r.hits.n, 1);
    const struct limit_hit *hit = r.hits.items;
    assert_int_equal(hit->limit, LIMIT_DNS);
    assert_int_equal(hit->count, 3);
    result_done(&r);
    gate_down(w);
}

/* Nor do those pass uncounted who ask nothing, or nothing that has an answer. */
static void what_is_no_question_counts_too(void **state)
{
    with_world(w, WEB);
    struct sockaddr_in door = address("127.0.0.1", 53);
    w->policy.limits[LIMIT_DNS] = 1;
    for (int i = 0; i < 3; i++) {
        int fd = enter(w, "127.0.0.1", 53);
        until(w, w->gate->dns == (unsigned)i + 1);
        if (i > 0)
            assert_int_equal(hear_end(w, fd), -1);
        close(fd);
    }
    assert_int_equal(w->gate->dns_over, 2);
    event(w, EGRESS_LIMITED, "(by TCP)", 0);
    int fd = jail_socket(w, 'd');
    assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&door, sizeof door), 1);
    until(w, w->gate->dns == 4);
    close(fd);
    assert_int_equal(w->gate->dns_over, 3);
    assert_int_equal(w->nevents, 1);
    gate_down(w);
}

/* ---- limits ---- */

static void connections_are_limited(void **state)
{
    with_world(w, WEB);
    struct result r = {0};
    w->policy.limits[LIMIT_CONNS] = 2;
    for (int i = 0; i < 4; i++) {
        int c = proxied(w, "CONNECT evil.example.net:443 HTTP/1.1\r\n\r\n");
        assert_int_equal(hear_end(w, c), 0);
        assert_non_null(
            strstr(buf_str(&w->heard), i < 2 ? "no rule allows it" : "limit of connections"));
        close(c);
    }
    assert_int_equal(gate_report(w->gate, &r), 0);
    assert_int_equal(r.conns, 4);
    assert_int_equal(r.hits.n, 1);
    const struct limit_hit *hit = r.hits.items;
    assert_int_equal(hit->limit, LIMIT_CONNS);
    assert_int_equal(hit->peak, 2);
    assert_int_equal(hit->count, 2);
    assert_int_equal(r.egress.n, 2);
    assert_int_equal(((struct egress_entry *)r.egress.items)->count, 2);
    result_done(&r);
    gate_down(w);
}

static void what_is_sent_is_limited_to_the_byte(void **state)
{
    with_world(w, "web.example.org:2222");
    int server = serve_at("5.5.5.5", 2222);
    struct result r = {0};
    char ip[INET_ADDRSTRLEN], bytes[4096] = {1};
    w->policy.limits[LIMIT_SENT] = 4096;
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    int c = enter(w, ip, 2222), s = accept_one(w, server);
    say_bytes(w, c, bytes, sizeof bytes);
    hear_bytes(w, s, bytes, sizeof bytes);
    say(w, c, "x");
    assert_int_equal(hear_end(w, c), -1);
    assert_true(hear_end(w, s) < 1);
    assert_int_equal(w->heard.len, 0);
    event(w, EGRESS_LIMITED, WEB, 2222);
    close(c);
    close(s);
    c = proxied(w, "CONNECT web.example.org:2222 HTTP/1.1\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "limit of bytes sent"));
    close(c);
    accept_none(w, server);
    assert_int_equal(gate_report(w->gate, &r), 0);
    assert_int_equal(r.sent, 4096);
    assert_int_equal(r.hits.n, 1);
    assert_int_equal(((struct limit_hit *)r.hits.items)->count, 2);
    result_done(&r);
    close(server);
    gate_down(w);
}

static const struct egress_entry *entry(const struct result *r, const char *name, int verdict)
{
    const struct egress_entry *e = r->egress.items;
    for (size_t i = 0; i < r->egress.n; i++)
        if (strcmp(e[i].name, name) == 0 && e[i].verdict == verdict)
            return &e[i];
    return NULL;
}

/* Names that a jail makes up, with a rule or without, do not hide where it went after them. */
static void the_account_cannot_be_filled_up(void **state)
{
    with_world(w, "*.wild.example.org web.example.org other.example.org:8443");
    struct result r = {0};
    char name[DNS_NAME_SIZE], ip[INET_ADDRSTRLEN];
    for (unsigned i = 0; i < RESULT_EGRESS_MAX; i++) {
        snprintf(name, sizeof name, "n%u.evil.example.net", i);
        assert_int_equal(resolve(w, name, A, ip), DNS_NXDOMAIN);
        snprintf(name, sizeof name, "n%u.wild.example.org", i);
        gate_record(w->gate, &(struct gate_event){.name = name, .port = 443, .why = ""});
    }
    w->nevents = 0;
    int server = serve_at("5.5.5.5", 80);
    int c = proxied(w, ASK), s = accept_one(w, server);
    hear(w, s, "\r\n\r\n");
    close(s);
    assert_int_equal(hear_end(w, c), 0);
    assert_true(event(w, EGRESS_ALLOWED, WEB, 80)->first);
    close(c);
    c = proxied(w, "CONNECT other.example.org:8443 HTTP/1.1\r\n\r\n");
    assert_int_equal(hear_end(w, c), 0); /* nobody is there */
    close(c);
    assert_int_equal(gate_report(w->gate, &r), 0);
    assert_non_null(entry(&r, WEB, EGRESS_ALLOWED));
    assert_true(entry(&r, WEB, EGRESS_ALLOWED)->sent > 0);
    assert_non_null(entry(&r, "other.example.org", EGRESS_FAILED));
    assert_non_null(entry(&r, "n0.evil.example.net", EGRESS_DENIED));
    assert_non_null(entry(&r, "n0.wild.example.org", EGRESS_ALLOWED));
    assert_int_equal(r.egress.n + r.egress_more, 2 * RESULT_EGRESS_MAX + 2);
    result_done(&r);
    close(server);
    gate_down(w);
}

static void only_so_many_are_open_at_once(void **state)
{
    with_world(w, WEB);
    int fds[40];
    gate_down(w);
    w = gate_up(WEB);
    w->gate->conns_max = 8;
    for (int i = 0; i < 40; i++)
        fds[i] = enter(w, "127.0.0.1", GATE_PROXY_PORT);
    for (int i = 0; i < 40; i++)
        spin(w);
    assert_int_equal(w->gate->nconns, 8);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    until(w, w->gate->conns_count == 16); /* the next ones are let in */
    for (int i = 8; i < 40; i++)
        close(fds[i]);
    until(w, w->gate->conns_count == 40 && w->gate->nconns == 0);
    assert_string_equal(w->events[0].name, "(connections at once)");
    assert_string_equal(w->events[0].why, "8 connections are open; more wait until one ends");
    gate_down(w);
}

static void who_says_nothing_is_sent_away(void **state)
{
    with_world(w, WEB);
    int c = proxied(w, "GET http://web.example.org/ HTTP/1.1\r\nHo");
    until(w, w->gate->nconns == 1);
    w->gate->conns->deadline = 0; /* as if the time were over */
    assert_int_equal(hear_end(w, c), 0);
    assert_non_null(strstr(buf_str(&w->heard), "HTTP/1.1 408 "));
    until(w, w->gate->nconns == 0 || w->gate->conns->phase == PHASE_LINGER);
    close(c);
    c = proxied(w, "");
    close(c);
    until(w, w->gate->nconns == 0);
    event(w, EGRESS_REFUSED, "(no request)", 0);
    gate_down(w);
}

/* ---- pace ---- */

/* A server that sends much to a client that does not read: what waits is bounded, and nothing is lost. */
static void a_slow_reader_holds_the_sender_back(void **state)
{
    with_world(w, "web.example.org:2222");
    int server = serve_at("5.5.5.5", 2222);
    char ip[INET_ADDRSTRLEN];
    static uint8_t piece[1 << 16];
    size_t sent = 0, got = 0, stalled = 0;
    assert_int_equal(resolve(w, WEB, A, ip), DNS_OK);
    int c = enter(w, ip, 2222), s = accept_one(w, server);
    for (; stalled < 200; spin(w)) {
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = (uint8_t)((sent + i) * 31 >> 4);
        ssize_t n = send(s, piece, sizeof piece, MSG_NOSIGNAL);
        stalled = n > 0 ? 0 : stalled + 1;
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(w->gate->conns->jail.pend.len > 0);
    assert_true(w->gate->conns->jail.pend.len <= GATE_CHUNK);
    assert_true(sent < 64u << 20);
    shutdown(s, SHUT_WR);
    for (int end = 0; !end; spin(w)) {
        ssize_t n;
        while ((n = recv(c, piece, sizeof piece, 0)) > 0)
            for (ssize_t i = 0; i < n; i++, got++)
                if (piece[i] != (uint8_t)(got * 31 >> 4))
                    fail_msg("byte %zu is wrong", got);
        end = n == 0;
    }
    assert_int_equal(got, sent);
    assert_int_equal(w->gate->conns->jail.pend.cap, 0); /* nothing is kept of it */
    close(c);
    close(s);
    close(server);
    gate_down(w);
}

/* An answer that is all in the jail's own buffers is not taken back because its reader is slow. */
static void a_slow_reader_gets_all_of_it(void **state)
{
    with_world(w, WEB);
    static char body[600 << 10];
    int server = serve_at("5.5.5.5", 80);
    int c = proxied(w, ASK), s = accept_one(w, server);
    hear(w, s, "\r\n\r\n");
    memset(body, 'b', sizeof body);
    say(w, s, "HTTP/1.1 200 OK\r\n\r\n");
    say_bytes(w, s, body, sizeof body);
    close(s);
    until(w, w->gate->conns->phase == PHASE_LINGER);
    w->gate->conns->deadline = 0; /* as if the time were over */
    until(w, w->gate->nconns == 0 || w->gate->conns->deadline != 0);
    assert_int_equal(hear_end(w, c), 0);
    assert_int_equal(w->heard.len, strlen("HTTP/1.1 200 OK\r\n\r\n") + sizeof body);
    close(c);
    close(server);
    gate_down(w);
}

/* Who has all but the end of it is not told by a reset that something is missing. */
static void a_reader_who_stays_is_left_in_peace(void **state)
{
    with_world(w, WEB);
    int server = serve_at("5.5.5.5", 80);
    int c = proxied(w, ASK), s = accept_one(w, server);
    hear(w, s, "\r\n\r\n");
    say(w, s, "HTTP/1.1 200 OK\r\n\r\nbody");
    close(s);
    until(w, w->gate->conns->phase == PHASE_LINGER);
    w->gate->conns->deadline = 0;
    until(w, w->gate->nconns == 0);
    assert_int_equal(hear_end(w, c), 0);
    assert_string_equal(buf_str(&w->heard), "HTTP/1.1 200 OK\r\n\r\nbody");
    close(c);
    close(server);
    gate_down(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_limited),
        cmocka_unit_test(what_is_no_question_counts_too),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(what_is_sent_is_limited_to_the_byte),
        cmocka_unit_test(the_account_cannot_be_filled_up),
        cmocka_unit_test(only_so_many_are_open_at_once),
        cmocka_unit_test(who_says_nothing_is_sent_away),
        cmocka_unit_test(a_slow_reader_holds_the_sender_back),
        cmocka_unit_test(a_slow_reader_gets_all_of_it),
        cmocka_unit_test(a_reader_who_stays_is_left_in_peace),
    };
    return cmocka_run_group_tests(tests, world_make, world_unmake);
}
