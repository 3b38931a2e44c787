/* Reads the pinned controller keys: one public key a line, as in authorized_keys without options. A
 * line that is not a usable key is an error, never skipped: a pin that silently does not count would
 * look like a refusal somewhere else. */
#include "runner/config.h"

#include <fcntl.h>
#include <string.h>

#include "common/file.h"

#define CONTROLLERS_BYTES_MAX (RUNNER_CONTROLLERS_MAX * KEY_LINE_MAX)

static int add_line(struct controller_keys *keys, char *line, unsigned number, struct err *err)
{
    uint8_t key[KEY_PUB_BYTES];
    line += strspn(line, " \t");
    if (*line == 0 || *line == '#')
        return 0;
    if (keys->n == RUNNER_CONTROLLERS_MAX)
        return err_set(err, ERR_USAGE, "line %u: more than %d keys", number,
                       RUNNER_CONTROLLERS_MAX);
    int rc = key_pub_parse(line, key, err);
    if (rc < 0) {
        err_wrap(err, "line %u", number);
        return rc;
    }
    memcpy(keys->keys[keys->n++], key, sizeof key);
    return 0;
}

static int parse_keys(struct buf *text, struct controller_keys *keys, struct err *err)
{
    unsigned number = 0;
    if (memchr(text->data, 0, text->len))
        return err_set(err, ERR_USAGE, "not a text file");
    for (char *line = (char *)text->data, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        int rc = add_line(keys, line, ++number, err);
        if (rc < 0)
            return rc;
    }
    if (keys->n == 0)
        return err_set(err, ERR_USAGE,
                       "no key in it; put the line of `creel key show --ssh` there");
    return 0;
}

int controller_keys_load(const char *path, struct controller_keys *out, struct err *err)
{
    struct controller_keys keys = {0};
    struct buf text;
    buf_init(&text, CONTROLLERS_BYTES_MAX);
    int rc = file_read(AT_FDCWD, path, &text, err);
    if (rc == 0)
        rc = parse_keys(&text, &keys, err);
    buf_done(&text);
    if (rc == 0)
        *out = keys;
    else
        err_wrap(err, "controller keys %s", path);
    return rc;
}
