/* The set on disk. What it gives away is what any holder of it has: guesses can be tested (redact.h). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/redact.h"

#define NEEDLES_FILE "needles.json"

int needles_load(int dirfd, struct needles **ret, struct err *err)
{
    struct buf text;
    if (faccessat(dirfd, NEEDLES_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        *ret = needles_new(err);
        return *ret ? 0 : -(int)err->code;
    }
    buf_init(&text, JSON_BYTES_MAX);
    int rc = file_read(dirfd, NEEDLES_FILE, &text, err);
    if (rc == 0)
        rc = needles_decode(text.data, text.len, ret, err);
    buf_done(&text);
    return rc < 0 ? err_wrap(err, NEEDLES_FILE " (it may be removed)") : 0;
}

int needles_save(int dirfd, const struct needles *n, struct err *err)
{
    struct buf text;
    buf_init(&text, JSON_BYTES_MAX);
    int rc = needles_encode(n, &text, err);
    if (rc == 0)
        rc = file_replace(dirfd, NEEDLES_FILE, text.data, text.len, 0600, err);
    buf_done(&text);
    return rc;
}
