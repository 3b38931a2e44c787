/* The far end for test_host: what a forced command may be, from well-behaved to hostile. The test
 * binary runs itself as `test_host --peer MODE`, so a test and its peer cannot drift apart.
 * Blocking and single-threaded, as simple as can be. */
#ifndef TESTS_UNIT_HOST_PEER_H
#define TESTS_UNIT_HOST_PEER_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "proto/message.h"

#define PEER_PACK_BYTES ((24u << 20) + 17)

/* Byte `at` of the log that peers send. */
static uint8_t peer_byte(uint64_t at)
{
    return (uint8_t)((at * 2654435761u) >> 13);
}

static void peer_say(const struct msg *m)
{
    struct buf b;
    struct err err = ERR_INIT;
    buf_init(&b, 2u << 20);
    if (msg_put(&b, m, &err) < 0 || write_all(1, b.data, b.len) < 0)
        _exit(70);
    buf_done(&b);
}

static void peer_welcome(int version)
{
    struct msg m = {.type = MSG_WELCOME};
    m.u.welcome.version = version;
    snprintf(m.u.welcome.program, sizeof m.u.welcome.program, "peer");
    memset(m.u.welcome.runner_key, 7, KEY_PUB_BYTES);
    snprintf(m.u.welcome.host_key, KEY_FPR_SIZE, "SHA256:%.43s",
             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    snprintf(m.u.welcome.kernel, sizeof m.u.welcome.kernel, "Linux");
    m.u.welcome.slots = 1;
    peer_say(&m);
}

/* Reads one frame into `in`; false at EOF. The frame borrows from `in`. */
static bool peer_hear(struct buf *in, struct frame *f, size_t *used)
{
    struct err err = ERR_INIT;
    int rc;
    while ((rc = frame_get(in->data, in->len, f, used, &err)) == 0) {
        uint8_t *to = buf_room(in, 65536);
        ssize_t n = to ? read(0, to, 65536) : -1;
        if (n <= 0)
            return false;
        buf_wrote(in, (size_t)n);
    }
    if (rc < 0)
        _exit(71);
    return true;
}

static void peer_answer(const char *mode, const struct frame *f)
{
    struct msg m, reply = {0};
    struct err err = ERR_INIT;
    if (msg_decode(f, &m, &err) < 0 || !msg_legal(SIDE_CONTROLLER, CHANNEL_CONTROL, f->type))
        _exit(72);
    if (m.type == MSG_PING && strcmp(mode, "mute") != 0) {
        reply.type = MSG_PONG;
        reply.u.ping = m.u.ping;
        peer_say(&reply);
    } else if (m.type == MSG_CANCEL) {
        reply.type = MSG_STATE;
        /* these tests send an attempt's id where a signed order would stand */
        snprintf(reply.u.state.attempt, ATTEMPT_ID_SIZE, "%.*s", (int)m.u.doc.len,
                 (const char *)m.u.doc.bytes);
        reply.u.state.state = ATTEMPT_RUNNING;
        peer_say(&reply);
    }
    msg_done(&m);
}

/* Says legal things for as long as anybody takes them. */
static void peer_flood(void)
{
    struct msg m = {.type = MSG_STATE, .u.state.state = ATTEMPT_RUNNING};
    struct buf b;
    struct err err = ERR_INIT;
    snprintf(m.u.state.attempt, ATTEMPT_ID_SIZE, "01hzzzzzzzzzzzzzzzzzzzzzzz.1");
    buf_init(&b, 2u << 20);
    for (int i = 0; i < 2000; i++)
        if (msg_put(&b, &m, &err) < 0)
            _exit(70);
    while (write_all(1, b.data, b.len) == 0) {
    }
    buf_done(&b);
}

static void peer_control(const char *mode, struct buf *in)
{
    struct frame f;
    size_t used;
    peer_welcome(strcmp(mode, "old") == 0 ? PROTO_VERSION + 1 : PROTO_VERSION);
    if (strcmp(mode, "illegal") == 0) {
        struct msg m = {.type = MSG_HELLO, .u.hello.version = 1};
        snprintf(m.u.hello.program, sizeof m.u.hello.program, "peer");
        peer_say(&m);
    }
    if (strcmp(mode, "twice") == 0)
        peer_welcome(PROTO_VERSION);
    if (strcmp(mode, "badjson") == 0)
        (void)!write(1, "\0\0\0\2\4{]", 7);
    if (strcmp(mode, "flood") == 0)
        peer_flood();
    while (peer_hear(in, &f, &used)) {
        peer_answer(mode, &f);
        buf_drop(in, used);
    }
}

/* hello.offset: how many bytes to send. */
static void peer_log(const char *mode, const struct msg_hello *hello)
{
    static uint8_t chunk[65536];
    uint64_t at = 0;
    while (at < hello->offset) {
        size_t n = sizeof chunk;
        if (n > hello->offset - at)
            n = (size_t)(hello->offset - at);
        for (size_t i = 0; i < n; i++)
            chunk[i] = peer_byte(at + i);
        if (write_all(1, chunk, n) < 0)
            _exit(73);
        at += n;
        if (at >= 1u << 20 && strcmp(mode, "cut") == 0)
            kill(getppid(), SIGKILL); /* the session's sshd */
    }
}

/* Reads to the end, checks every byte and how many there were, answers PACK_OK. */
static void peer_pack(const struct msg_hello *hello, struct buf *in)
{
    static uint8_t chunk[65536];
    uint64_t at = 0;
    bool good = true;
    for (;;) {
        size_t n = in->len < sizeof chunk ? in->len : sizeof chunk;
        memcpy(chunk, in->data, n);
        buf_drop(in, n);
        ssize_t got = n ? (ssize_t)n : read(0, chunk, sizeof chunk);
        if (got <= 0)
            break;
        for (size_t i = 0; i < (size_t)got; i++)
            good = good && chunk[i] == peer_byte(at + i);
        at += (size_t)got;
    }
    struct msg m = {.type = MSG_PACK_OK};
    memcpy(m.u.pack_ok.attempt, hello->attempt, ATTEMPT_ID_SIZE);
    if (good && at == PEER_PACK_BYTES)
        peer_say(&m);
}

/* A first attempt: answers when it has heard all; another: says its all first, and hears to the end. */
static void peer_call(const struct msg_hello *hello, struct buf *in)
{
    char bytes[256];
    ssize_t n;
    bool first = strstr(hello->attempt, ".1") == NULL;
    if (first) {
        (void)!write(1, "first", 5);
        close(1);
        close(2); /* sshd tells of the end when both are closed */
    }
    while ((n = read(0, bytes, sizeof bytes)) > 0)
        buf_add(in, bytes, (size_t)n);
    if (!first && in->len == 3 && memcmp(in->data, "ask", 3) == 0)
        (void)!write(1, "answer", 6);
}

static int peer_main(const char *mode)
{
    struct buf in;
    struct frame f;
    struct msg m;
    struct err err = ERR_INIT;
    size_t used;
    buf_init(&in, 4u << 20);
    if (strcmp(mode, "down") == 0) {
        fprintf(stderr, "creel-runner: serve is not running\n\033[31m(start it)\n");
        return 3;
    }
    if (strcmp(mode, "silent") == 0) {
        char sink[4096];
        while (read(0, sink, sizeof sink) > 0) {
        }
        return 0;
    }
    if (strcmp(mode, "huge") == 0)
        (void)!write(1, "\xff\xff\xff\xff\2", 5);
    if (strcmp(mode, "babble") == 0) {
        (void)!write(1, "Welcome to Debian!\r\n", 20);
        (void)!write(1, "Have a lot of fun...", 20);
    }
    if (!peer_hear(&in, &f, &used))
        return 0;
    if (msg_decode(&f, &m, &err) < 0 || m.type != MSG_HELLO)
        return 75;
    struct msg_hello hello = m.u.hello;
    buf_drop(&in, used);
    if (hello.channel == CHANNEL_CONTROL)
        peer_control(mode, &in);
    else if (strcmp(mode, "refuse") == 0)
        fprintf(stderr, "creel-runner: no such stream\n");
    else if (hello.channel == CHANNEL_PACK)
        peer_pack(&hello, &in);
    else if (hello.channel == CHANNEL_CALL)
        peer_call(&hello, &in);
    else
        peer_log(mode, &hello);
    msg_done(&m);
    buf_done(&in);
    return strcmp(mode, "refuse") == 0 && hello.channel != CHANNEL_CONTROL ? 9 : 0;
}

#endif
