/* log.json as a table, and read back. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/log_sink.h"

static const struct json_field stream_fields[] = {
    JSON_ROW(struct log_stream_record, U64, skip),
    JSON_ROW(struct log_stream_record, U64, cover),
    JSON_ROW(struct log_stream_record, TEXT, name),
    JSON_END,
};
static const struct json_shape stream_shape = {sizeof(struct log_stream_record), stream_fields};

static const struct json_field fields[] = {
    JSON_ROW(struct log_record, BOOL, complete),
    JSON_ROW(struct log_record, U64, raw),
    JSON_ROW(struct log_record, HEX, chain),
    JSON_ROW(struct log_record, U64, stored),
    JSON_ROW(struct log_record, HEX, stored_chain),
    JSON_ROW(struct log_record, U64, places),
    JSON_ROW(struct log_record, OBJ, note, .shape = &stream_shape),
    JSON_ROW(struct log_record, OBJ, out, .shape = &stream_shape),
    JSON_ROW(struct log_record, OBJ, err, .shape = &stream_shape),
    JSON_END,
};
const struct json_shape log_record_shape = {sizeof(struct log_record), fields};

int log_record_load(int dirfd, const char *name, struct log_record *out, struct err *err)
{
    struct buf text;
    if (faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    buf_init(&text, 65536);
    int rc = file_read(dirfd, name, &text, err);
    if (rc == 0)
        rc = json_decode(&log_record_shape, text.data, text.len, out, err);
    buf_done(&text);
    return rc < 0 ? err_wrap(err, "%s", name) : 1;
}
