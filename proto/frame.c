/* Message and log frames: heads written and read, lengths bounded. Never allocates on reading, never
 * looks into a payload, never searches for the next frame after a bad one. */
#include "proto/frame.h"

#include <string.h>

static void put_u32(uint8_t *to, uint32_t v)
{
    to[0] = v >> 24;
    to[1] = v >> 16;
    to[2] = v >> 8;
    to[3] = v;
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Head and payload go in together or not at all. */
static int put(struct buf *to, const uint8_t *head, size_t nhead, const void *payload, size_t len)
{
    uint8_t *at = buf_room(to, nhead + len);
    if (!at)
        return -1;
    memcpy(at, head, nhead);
    if (len > 0)
        memcpy(at + nhead, payload, len);
    buf_wrote(to, nhead + len);
    return 0;
}

int frame_put(struct buf *to, uint8_t type, const void *payload, size_t len)
{
    if (len > FRAME_PAYLOAD_MAX)
        return -1;
    uint8_t head[FRAME_HEAD_BYTES];
    put_u32(head, (uint32_t)len);
    head[4] = type;
    return put(to, head, sizeof(head), payload, len);
}

int frame_get(const uint8_t *bytes, size_t len, struct frame *ret, size_t *ret_used,
              struct err *err)
{
    if (len < FRAME_HEAD_BYTES)
        return 0;
    uint32_t n = get_u32(bytes);
    /* Judged before the payload has come: nobody waits or makes room for an impossible frame. The
     * head is there whole, so the caller can say what kind of frame it was. */
    if (n > FRAME_PAYLOAD_MAX)
        return err_set(err, ERR_FAIL, "frame of %u bytes is over the limit of %u", n,
                       FRAME_PAYLOAD_MAX);
    if (len - FRAME_HEAD_BYTES < n)
        return 0;
    *ret = (struct frame){.type = bytes[4], .payload = bytes + FRAME_HEAD_BYTES, .len = n};
    *ret_used = FRAME_HEAD_BYTES + (size_t)n;
    return 1;
}

void log_frame_head(uint8_t out[static LOG_FRAME_HEAD_BYTES], enum log_stream stream,
                    uint64_t at_us, uint32_t len)
{
    put_u32(out, len);
    out[4] = (uint8_t)stream;
    put_u32(out + 5, (uint32_t)(at_us >> 32));
    put_u32(out + 9, (uint32_t)at_us);
}

int log_frame_put(struct buf *to, enum log_stream stream, uint64_t at_us, const void *payload,
                  size_t len)
{
    if (len > LOG_PAYLOAD_MAX || (unsigned)stream >= LOG_STREAM_COUNT)
        return -1;
    uint8_t head[LOG_FRAME_HEAD_BYTES];
    log_frame_head(head, stream, at_us, (uint32_t)len);
    return put(to, head, sizeof(head), payload, len);
}

int log_frame_get(const uint8_t *bytes, size_t len, struct log_frame *ret, size_t *ret_used,
                  struct err *err)
{
    if (len < 4)
        return 0;
    uint32_t n = get_u32(bytes);
    if (n > LOG_PAYLOAD_MAX)
        return err_set(err, ERR_FAIL, "log frame of %u bytes is over the limit of %u", n,
                       LOG_PAYLOAD_MAX);
    if (len < 5)
        return 0;
    if (bytes[4] >= LOG_STREAM_COUNT)
        return err_set(err, ERR_FAIL, "log frame of unknown stream %u", bytes[4]);
    if (len < LOG_FRAME_HEAD_BYTES || len - LOG_FRAME_HEAD_BYTES < n)
        return 0;
    *ret = (struct log_frame){
        .stream = (enum log_stream)bytes[4],
        .at_us = (uint64_t)get_u32(bytes + 5) << 32 | get_u32(bytes + 9),
        .payload = bytes + LOG_FRAME_HEAD_BYTES,
        .len = n,
    };
    *ret_used = LOG_FRAME_HEAD_BYTES + (size_t)n;
    return 1;
}
