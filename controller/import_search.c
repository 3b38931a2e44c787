/* Secrets of the operator's in what came back: paths and contents, searched by needles. Unlike what merely
 * looks like a secret (import_flags.c), a hit is one, so it stops the approval. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/term.h"
#include "controller/import.h"
#include "proto/utf8.h"

int import_needles_load(struct import *im, struct err *err)
{
    struct buf text;
    if (faccessat(im->outfd, IMPORT_NEEDLES, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        return 0;
    }
    buf_init(&text, JSON_BYTES_MAX);
    int rc = file_read(im->outfd, IMPORT_NEEDLES, &text, err);
    if (rc == 0) {
        rc = needles_decode(text.data, text.len, &im->needles, err);
    }
    buf_done(&text);
    return rc < 0 ? err_wrap(err, IMPORT_NEEDLES) : 0;
}

static size_t line_of(const uint8_t *bytes, size_t at)
{
    size_t line = 1;
    const uint8_t *lf;
    for (size_t i = 0; (lf = memchr(bytes + i, '\n', at - i)) != NULL; line++) {
        i = (size_t)(lf - bytes) + 1;
    }
    return line;
}

/* A path that holds the secret itself is not repeated: `path` is then "". */
static int found(struct import *im, const char *path, const char *where, const char *name,
                 struct err *err)
{
    struct import_result *sum = &im->record.summary;
    struct buf text;
    char shown[151], why[131];
    snprintf(why, sizeof(why), "%s the secret %s", where, name);
    if (sum->secret[0] == '\0') {
        buf_init(&text, 16 * TREE_PATH_MAX);
        term_line(path, &text);
        utf8_copy(shown, sizeof(shown), buf_str(&text));
        snprintf(sum->secret, sizeof(sum->secret), "%s%s%s", shown, path[0] != '\0' ? ": " : "",
                 why);
        buf_done(&text);
    }
    return import_flag(im, "secret-value", path, why, err);
}

int import_search(struct import *im, const char *path, const void *bytes, size_t n, struct err *err)
{
    char where[48];
    size_t at = 0;
    const char *in_path = needles_find(im->needles, path, strlen(path), &at);
    const char *name = needles_find(im->needles, bytes, n, &at);
    if (name != NULL) {
        snprintf(where, sizeof(where), "line %zu holds", line_of(bytes, at));
        return found(im, in_path != NULL ? "" : path, where, name, err);
    }
    return in_path != NULL && n == 0 ? found(im, "", "a path holds", in_path, err) : 0;
}
