/* Frames: what stands on an SSH channel between controller and runner.
 *
 * Message frame:  u32 length (big endian, of what follows the type), u8 type, payload.
 * Log frame:      u32 length (of payload), u8 stream, u64 microseconds since the attempt began,
 *                 payload bytes. All big endian.
 * Both readers take bytes as they come, never resync: a bad length or type is an error, for good.
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/err.h"

#define FRAME_HEAD_BYTES     5
#define FRAME_PAYLOAD_MAX    (1u << 20)
#define LOG_FRAME_HEAD_BYTES 13
#define LOG_PAYLOAD_MAX      (64u << 10)

enum log_stream {
    LOG_NOTE = 0, /* creel's own line about the attempt, UTF-8 text without newline */
    LOG_OUT = 1,
    LOG_ERR = 2,
    LOG_STREAM_COUNT,
};

struct frame {
    uint8_t type;
    const uint8_t *payload; /* borrowed from the buffer until it changes */
    size_t len;
};

/* Appends one frame. -1 when the payload is over FRAME_PAYLOAD_MAX or `to` is full. */
int frame_put(struct buf *to, uint8_t type, const void *payload, size_t len);
/* Looks at bytes[0..len): 1 = a whole frame, *ret and *ret_used (bytes it takes) set; 0 = more bytes
 * needed; -ERR_FAIL = impossible length. Types are judged by the caller's table. */
int frame_get(const uint8_t *bytes, size_t len, struct frame *ret, size_t *ret_used,
              struct err *err);

struct log_frame {
    enum log_stream stream;
    uint64_t at_us;
    const uint8_t *payload; /* borrowed */
    size_t len;
};

void log_frame_head(uint8_t out[static LOG_FRAME_HEAD_BYTES], enum log_stream stream,
                    uint64_t at_us, uint32_t len);
int log_frame_put(struct buf *to, enum log_stream stream, uint64_t at_us, const void *payload,
                  size_t len);
/* As frame_get. Unknown stream numbers are an error. */
int log_frame_get(const uint8_t *bytes, size_t len, struct log_frame *ret, size_t *ret_used,
                  struct err *err);

#endif
