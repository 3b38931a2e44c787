/* Streams: descriptors, HELLO, frames in any pieces, ceilings, and every way for a peer to go. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/stream.h"

struct fixture {
    uv_loop_t loop;
    struct stream_owner owner;
    struct stream *stream; /* the last that said hello */
    int hellos, frames, gone, eofs;
    uint8_t last_type;
    size_t last_len;
    struct buf raw;
    const struct stream_kind *next_kind;
    int file;
    uint64_t file_size;
};

struct peer {
    int attach, fd; /* our ends */
};

/* ---- a kind that counts ---- */

static void on_frame(struct stream *s, const struct frame *f)
{
    struct fixture *x = s->owner->arg;
    x->frames++;
    x->last_type = f->type;
    x->last_len = f->len;
}

static void on_bytes(struct stream *s, const uint8_t *bytes, size_t n)
{
    struct fixture *x = s->owner->arg;
    buf_add(&x->raw, bytes, n);
}

static void on_eof(struct stream *s)
{
    ((struct fixture *)s->owner->arg)->eofs++;
}

static void on_gone(struct stream *s)
{
    ((struct fixture *)s->owner->arg)->gone++;
}

static enum stream_more file_more(struct stream *s)
{
    struct fixture *x = s->owner->arg;
    if (s->offset == x->file_size)
        return STREAM_END;
    return stream_sendfile(s, x->file, &s->offset, x->file_size - s->offset);
}

static const struct stream_kind framed = {.frame = on_frame, .gone = on_gone};
static const struct stream_kind raw_in = {.bytes = on_bytes, .eof = on_eof, .gone = on_gone};
static const struct stream_kind file_out = {
    .bytes = on_bytes, .eof = on_eof, .more = file_more, .gone = on_gone};

static void on_hello(struct stream *s, const struct msg_hello *h)
{
    struct fixture *x = s->owner->arg;
    x->hellos++;
    x->stream = s;
    stream_open(s, (enum channel)h->channel, x->next_kind);
    if (x->next_kind->more)
        stream_pump(s);
}

/* ---- helpers ---- */

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    uv_loop_init(&x->loop);
    x->owner = (struct stream_owner){.loop = &x->loop,
                                     .scratch = malloc(STREAM_CHUNK),
                                     .arg = x,
                                     .hello = on_hello,
                                     .times = stream_times_default};
    x->next_kind = &framed;
    x->file = -1;
    buf_init(&x->raw, 64u << 20);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    while (x->owner.streams)
        stream_close(x->owner.streams);
    uv_run(&x->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&x->loop), 0); /* no handle was forgotten */
    fd_close(&x->file);
    free(x->owner.scratch);
    buf_done(&x->raw);
    free(x);
    return 0;
}

static void turn(struct fixture *x)
{
    for (int i = 0; i < 8; i++)
        uv_run(&x->loop, UV_RUN_NOWAIT);
}

static void pair(int type, int out[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out), 0);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
}

/* As attach: one byte and both descriptors. */
static struct peer connect_peer(struct fixture *x, size_t nfds)
{
    int at[2], io[2];
    pair(SOCK_SEQPACKET, at);
    pair(SOCK_STREAM, io);
    int fds[4] = {io[1], io[1], io[1], io[1]};
    assert_int_equal(stream_new(&x->owner, at[1], NULL), 0);
    assert_int_equal(fdpass_send(at[0], "a", 1, fds, nfds, NULL), 0);
    close(io[1]);
    turn(x);
    return (struct peer){at[0], io[0]};
}

static void put_hello(struct buf *to, enum channel channel)
{
    struct msg m = {.type = MSG_HELLO};
    m.u.hello.version = PROTO_VERSION;
    m.u.hello.channel = channel;
    snprintf(m.u.hello.program, sizeof m.u.hello.program, "test");
    if (channel != CHANNEL_CONTROL)
        snprintf(m.u.hello.attempt, sizeof m.u.hello.attempt, "01arz3ndektsv4rrffq69g5fav.1");
    m.u.hello.proof[0] = channel == CHANNEL_CALL || channel == CHANNEL_PACK;
    assert_int_equal(msg_put(to, &m, NULL), 0);
}

static struct peer hello_peer(struct fixture *x, const struct stream_kind *kind)
{
    struct buf b;
    struct peer p = connect_peer(x, 2);
    x->next_kind = kind;
    buf_init(&b, 4096);
    put_hello(&b, CHANNEL_CONTROL);
    assert_int_equal(write_all(p.fd, b.data, b.len), 0);
    buf_done(&b);
    turn(x);
    assert_int_equal(x->hellos, 1);
    return p;
}

static void peer_done(struct peer *p)
{
    fd_close(&p->attach);
    fd_close(&p->fd);
}

/* Expects REFUSED for `why`, then the end. */
static void expect_refused(struct peer *p, enum refusal why)
{
    uint8_t bytes[4096];
    struct frame f;
    struct msg m;
    size_t used;
    ssize_t n = read(p->fd, bytes, sizeof bytes);
    assert_true(n > 0);
    assert_int_equal(frame_get(bytes, (size_t)n, &f, &used, NULL), 1);
    assert_int_equal(used, n);
    assert_int_equal(msg_decode(&f, &m, NULL), 0);
    assert_int_equal(m.type, MSG_REFUSED);
    assert_int_equal(m.u.refused.reason, why);
    assert_true(m.u.refused.detail[0]);
    msg_done(&m);
    assert_true(read(p->fd, bytes, sizeof bytes) <= 0);
}

/* ---- tests ---- */

static void frames_come_in_any_pieces(void **state)
{
    struct fixture *x = *state;
    struct peer p = connect_peer(x, 2);
    struct buf b;
    buf_init(&b, 1u << 20);
    put_hello(&b, CHANNEL_CONTROL);
    frame_put(&b, 3, "{}", 2);
    frame_put(&b, 4, "", 0);
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(write(p.fd, b.data + i, 1), 1);
        turn(x);
    }
    assert_int_equal(x->hellos, 1);
    assert_int_equal(x->frames, 2);
    assert_int_equal(x->last_type, 4);
    buf_clear(&b);
    for (int i = 0; i < 1000; i++)
        frame_put(&b, 5, "abc", 3);
    assert_int_equal(write_all(p.fd, b.data, b.len), 0);
    turn(x);
    assert_int_equal(x->frames, 1002);
    buf_done(&b);
    peer_done(&p);
}

static void a_frame_may_be_a_mebibyte_and_memory_is_given_back(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &framed);
    uint8_t head[FRAME_HEAD_BYTES] = {0, 0x10, 0, 0, 9}, block[4096] = {0};
    assert_int_equal(write_all(p.fd, head, sizeof head), 0);
    for (size_t sent = 0; sent < FRAME_PAYLOAD_MAX; sent += sizeof block) {
        assert_int_equal(write_all(p.fd, block, sizeof block), 0);
        turn(x);
    }
    assert_int_equal(x->frames, 1);
    assert_int_equal(x->last_len, FRAME_PAYLOAD_MAX);
    assert_true(x->stream->in.cap < 64u << 10);
    peer_done(&p);
}

static void oversized_frames_are_refused(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &framed);
    assert_int_equal(write_all(p.fd, "\x00\x10\x00\x01\x10", 5), 0); /* an envelope */
    turn(x);
    expect_refused(&p, REFUSED_SIZE);
    assert_int_equal(x->gone, 1);
    peer_done(&p);
}

static void other_oversized_frames_are_protocol(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &framed);
    assert_int_equal(write_all(p.fd, "\xff\xff\xff\xff\x03", 5), 0);
    turn(x);
    expect_refused(&p, REFUSED_PROTOCOL);
    peer_done(&p);
}

static void hello_must_come_first_and_be_right(void **state)
{
    struct fixture *x = *state;
    static const char *const bad[] = {
        "\x00\x00\x00\x0b\x03{\"seq\":\"1\"}",
        "\x00\x00\x00\x02\x01{}",
        "\x00\x00\x00\x02\x63{}",
        "\xff\xff\xff\xff\x01",
    };
    static const size_t len[] = {16, 7, 7, 5};
    for (size_t i = 0; i < 4; i++) {
        struct peer p = connect_peer(x, 2);
        assert_int_equal(write_all(p.fd, bad[i], len[i]), 0);
        turn(x);
        expect_refused(&p, REFUSED_PROTOCOL);
        peer_done(&p);
    }
    struct peer p = connect_peer(x, 2);
    struct buf b;
    buf_init(&b, 4096);
    put_hello(&b, CHANNEL_CONTROL);
    char *v = strstr((char *)b.data + 5, "\"version\":1");
    assert_non_null(v);
    v[10] = '2';
    assert_int_equal(write_all(p.fd, b.data, b.len), 0);
    buf_done(&b);
    turn(x);
    expect_refused(&p, REFUSED_PROTOCOL);
    assert_int_equal(x->hellos, 0);
    assert_int_equal(x->owner.n, 0);
    peer_done(&p);
}

static void only_two_descriptors_are_taken(void **state)
{
    struct fixture *x = *state;
    static const size_t counts[] = {0, 1, 3, 4};
    for (size_t i = 0; i < 4; i++) {
        struct peer p = connect_peer(x, counts[i]);
        assert_int_equal(x->owner.n, 0);
        char c;
        assert_int_equal(read(p.fd, &c, 1), 0); /* what came was closed */
        peer_done(&p);
    }
    struct peer p = connect_peer(x, 2);
    int fds[2] = {p.fd, p.fd};
    assert_int_equal(fdpass_send(p.attach, "a", 1, fds, 2, NULL), 0); /* a second time */
    turn(x);
    assert_int_equal(x->owner.n, 0);
    peer_done(&p);
}

static void a_peer_that_goes_is_noticed_once(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &raw_in);
    shutdown(p.fd, SHUT_WR); /* no more from it; it may still listen */
    turn(x);
    assert_int_equal(x->eofs, 1);
    assert_int_equal(x->gone, 0);
    assert_false(stream_hung_up(x->stream));
    fd_close(&p.fd);
    assert_true(stream_hung_up(x->stream));
    fd_close(&p.attach); /* attach goes, so does the stream */
    turn(x);
    assert_int_equal(x->gone, 1);
    assert_int_equal(x->owner.n, 0);
}

static void control_ends_with_its_input(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &framed);
    shutdown(p.fd, SHUT_WR);
    turn(x);
    assert_int_equal(x->gone, 1);
    peer_done(&p);
}

static void raw_bytes_follow_hello_in_one_piece(void **state)
{
    struct fixture *x = *state;
    struct peer p = connect_peer(x, 2);
    struct buf b;
    x->next_kind = &raw_in;
    buf_init(&b, 4096);
    put_hello(&b, CHANNEL_PACK);
    buf_adds(&b, "PACKbytes");
    assert_int_equal(write_all(p.fd, b.data, b.len), 0);
    turn(x);
    assert_int_equal(write_all(p.fd, "more", 4), 0);
    turn(x);
    assert_string_equal(buf_str(&x->raw), "PACKbytesmore");
    buf_done(&b);
    peer_done(&p);
}

static void a_peer_that_does_not_read_is_dropped(void **state)
{
    struct fixture *x = *state;
    struct peer p = hello_peer(x, &framed);
    struct msg m = {.type = MSG_RESULT};
    uint8_t *doc = calloc(1, 200000);
    memset(doc, 'x', 200000);
    m.u.doc.bytes = doc;
    m.u.doc.len = 200000;
    for (int i = 0; i < 100 && !x->gone; i++) {
        stream_send(x->stream, &m);
        assert_true(x->gone || x->stream->out.len <= STREAM_QUEUE_MAX);
        turn(x);
    }
    assert_int_equal(x->gone, 1);
    free(doc);
    peer_done(&p);
}

static void a_file_goes_out_whole_through_a_slow_reader(void **state)
{
    struct fixture *x = *state;
    struct buf got;
    uint8_t piece[10000];
    ssize_t n;
    size_t size = 3u << 20;
    x->file = memfd_create("file", MFD_CLOEXEC);
    for (uint32_t i = 0; i < size / 4; i++)
        assert_int_equal(write(x->file, &i, 4), 4);
    x->file_size = size;
    struct peer p = hello_peer(x, &file_out);
    buf_init(&got, 8u << 20);
    for (;;) {
        n = read(p.fd, piece, sizeof piece);
        if (n == 0)
            break;
        if (n > 0)
            buf_add(&got, piece, (size_t)n);
        turn(x);
        assert_true(got.len <= size);
    }
    assert_int_equal(got.len, size);
    for (uint32_t i = 0; i < size / 4; i++)
        if (memcmp(got.data + 4 * i, &i, 4) != 0)
            fail_msg("byte %u differs", 4 * i);
    assert_int_equal(x->gone, 1);
    buf_done(&got);
    peer_done(&p);
}

/* ---- many peers: each with its own hello, none may take the room of the others ---- */

static void say_hello(struct fixture *x, struct peer *p, enum channel channel)
{
    struct buf b;
    buf_init(&b, 4096);
    put_hello(&b, channel);
    assert_int_equal(write_all(p->fd, b.data, b.len), 0);
    buf_done(&b);
    turn(x);
}

static struct peer open_peer(struct fixture *x, enum channel channel)
{
    struct peer p = connect_peer(x, 2);
    say_hello(x, &p, channel);
    return p;
}

static bool hung_up(struct peer *p)
{
    char c;
    return recv(p->attach, &c, 1, MSG_DONTWAIT) == 0;
}

static void more_files(void)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    if (r.rlim_cur < 4096 && r.rlim_max >= 4096) {
        r.rlim_cur = 4096;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    }
}

static void there_is_a_ceiling_for_each_class(void **state)
{
    struct fixture *x = *state;
    struct peer control[STREAMS_CONTROL_MAX], bulk[STREAMS_BULK_MAX], mute[STREAMS_MUTE_MAX], p;
    struct peer call[STREAMS_CALL_MAX];
    const int spoken = STREAMS_CONTROL_MAX + STREAMS_CALL_MAX + STREAMS_BULK_MAX;
    more_files();
    for (int i = 0; i < STREAMS_CONTROL_MAX; i++)
        control[i] = open_peer(x, CHANNEL_CONTROL);
    p = open_peer(x, CHANNEL_CONTROL);
    expect_refused(&p, REFUSED_BUSY);
    peer_done(&p);
    for (int i = 0; i < STREAMS_CALL_MAX; i++)
        call[i] = open_peer(x, CHANNEL_CALL);
    p = open_peer(x, CHANNEL_CALL);
    expect_refused(&p, REFUSED_BUSY);
    peer_done(&p);
    for (int i = 0; i < STREAMS_BULK_MAX; i++)
        bulk[i] = open_peer(x, CHANNEL_LOG);
    p = open_peer(x, CHANNEL_LOG);
    expect_refused(&p, REFUSED_BUSY);
    peer_done(&p);
    assert_int_equal(x->hellos, spoken);
    for (int i = 0; i < STREAMS_MUTE_MAX; i++)
        mute[i] = connect_peer(x, 2);
    assert_int_equal(x->owner.n, STREAMS_MAX);
    peer_done(&control[0]); /* room again */
    turn(x);
    p = open_peer(x, CHANNEL_CONTROL); /* through a crowd of mutes: the oldest went */
    assert_int_equal(x->hellos, spoken + 1);
    assert_true(hung_up(&mute[0]));
    assert_false(hung_up(&mute[1]));
    assert_false(hung_up(&p));
    peer_done(&p);
    for (int i = 1; i < STREAMS_CONTROL_MAX; i++)
        peer_done(&control[i]);
    for (int i = 0; i < STREAMS_CALL_MAX; i++)
        peer_done(&call[i]);
    for (int i = 0; i < STREAMS_BULK_MAX; i++)
        peer_done(&bulk[i]);
    for (int i = 0; i < STREAMS_MUTE_MAX; i++)
        peer_done(&mute[i]);
    turn(x);
    assert_int_equal(x->owner.n, 0);
    for (int i = 0; i < STREAM_CLASS_COUNT; i++)
        assert_int_equal(x->owner.classes[i], 0);
    assert_int_equal(x->owner.held, 0);
}

static void all_input_together_is_bounded(void **state)
{
    struct fixture *x = *state;
    enum { N = 40 };
    struct peer p[N], honest, third;
    static const uint8_t head[FRAME_HEAD_BYTES] = {0, 0x10, 0, 0, 9};
    uint8_t *block = calloc(1, 16384);
    more_files();
    honest = open_peer(x, CHANNEL_CONTROL);
    for (int i = 0; i < N; i++) {
        p[i] = open_peer(x, CHANNEL_LOG);
        assert_int_equal(write_all(p[i].fd, head, sizeof head), 0);
    }
    for (size_t sent = 0; sent + 16384 < FRAME_PAYLOAD_MAX; sent += 16384) {
        size_t held = 0;
        for (int i = 0; i < N; i++)
            (void)!send(p[i].fd, block, 16384, MSG_NOSIGNAL); /* dropped ones fail */
        turn(x);
        for (struct stream *s = x->owner.streams; s; s = s->next)
            held += s->in.cap;
        assert_int_equal(held, x->owner.held);
        assert_true(held <= STREAM_INPUT_MAX);
    }
    assert_in_range(x->gone, N - 17, N - 1);
    assert_false(hung_up(&honest)); /* it holds least, so it stays */
    int before = x->frames;
    assert_int_equal(write_all(honest.fd, "\0\0\0\2\4{}", 7), 0);
    turn(x);
    assert_int_equal(x->frames, before + 1);
    third = open_peer(x, CHANNEL_CONTROL);
    assert_int_equal(write_all(third.fd, head, sizeof head), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write_all(third.fd, block, 16384), 0);
        turn(x);
    }
    int gone = x->gone;
    assert_int_equal(write_all(honest.fd, head, sizeof head), 0);
    for (size_t sent = 0; sent < 600u << 10; sent += 16384) {
        assert_int_equal(send(honest.fd, block, 16384, MSG_NOSIGNAL), 16384);
        turn(x);
    }
    assert_true(x->gone > gone);
    assert_false(hung_up(&honest) || hung_up(&third)); /* one that holds more went */
    assert_true(x->owner.held <= STREAM_INPUT_MAX);
    for (int i = 0; i < N; i++)
        peer_done(&p[i]);
    peer_done(&honest);
    peer_done(&third);
    free(block);
    turn(x);
    assert_int_equal(x->owner.held, 0);
}

static void a_hello_is_short(void **state)
{
    struct fixture *x = *state;
    struct peer p = connect_peer(x, 2);
    uint8_t bytes[STREAM_HELLO_BYTES + 1] = {0, 0x10, 0, 0, MSG_HELLO};
    assert_int_equal(write_all(p.fd, bytes, sizeof bytes), 0);
    turn(x);
    expect_refused(&p, REFUSED_PROTOCOL);
    peer_done(&p);
}

/* Runs the loop for `ms` and sends `bytes` every tenth of it. */
static void talk(struct fixture *x, struct peer *p, unsigned ms, const void *bytes, size_t n)
{
    for (int i = 0; i < 10; i++) {
        (void)!send(p->fd, bytes, n, MSG_NOSIGNAL);
        turn(x);
        usleep(ms * 100);
        turn(x);
    }
}

static void silence_ends_a_control_stream(void **state)
{
    struct fixture *x = *state;
    x->owner.times.silence_ms = 200;
    struct peer p = hello_peer(x, &framed);
    talk(x, &p, 400, "\0\0\0\2\4{}", 7); /* it pings */
    assert_int_equal(x->gone, 0);
    talk(x, &p, 400, "", 0);
    assert_int_equal(x->gone, 1);
    assert_true(hung_up(&p));
    peer_done(&p);
}

static void an_unfinished_frame_ends_its_stream(void **state)
{
    static const char end_and_begin[] = "{}\0\0\0\2\4";
    struct fixture *x = *state;
    x->owner.times.frame_ms = 200;
    struct peer p = hello_peer(x, &framed);
    assert_int_equal(write_all(p.fd, "\0\0\0\2\4", 5), 0);
    talk(x, &p, 400, end_and_begin, 7); /* never at rest, yet each frame is whole in time */
    assert_int_equal(x->gone, 0);
    assert_int_equal(x->frames, 10);
    assert_int_equal(write_all(p.fd, "{}\0\0\0\x40\4", 7), 0);
    talk(x, &p, 400, "x", 1); /* a byte now and then does not help */
    assert_int_equal(x->gone, 1);
    peer_done(&p);
}

static void raw_streams_may_be_silent(void **state)
{
    struct fixture *x = *state;
    x->owner.times.silence_ms = x->owner.times.frame_ms = 50;
    struct peer p = hello_peer(x, &raw_in);
    talk(x, &p, 200, "", 0);
    assert_int_equal(x->gone, 0);
    peer_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_come_in_any_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frame_may_be_a_mebibyte_and_memory_is_given_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(oversized_frames_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(other_oversized_frames_are_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(hello_must_come_first_and_be_right, setup, teardown),
        cmocka_unit_test_setup_teardown(only_two_descriptors_are_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_goes_is_noticed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(control_ends_with_its_input, setup, teardown),
        cmocka_unit_test_setup_teardown(raw_bytes_follow_hello_in_one_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_goes_out_whole_through_a_slow_reader, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(there_is_a_ceiling_for_each_class, setup, teardown),
        cmocka_unit_test_setup_teardown(all_input_together_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hello_is_short, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_ends_a_control_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfinished_frame_ends_its_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(raw_streams_may_be_silent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
