/* secrets.json, and one reference given by the operator: what is taken is of a known form and comes out
 * the same. */
#include <string.h>

#include "controller/broker/secrets.h"
#include "tests/fuzz/fuzz.h"

static void one_reference(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    char *text = malloc(len + 1);
    MUST(text);
    memcpy(text, bytes, len);
    text[len] = 0;
    if (secret_ref_check(text, &err) == 0) {
        MUST(strlen(text) < SECRET_REF_SIZE && !strchr(text, '\n'));
        MUST(strncmp(text, "cmd:", 4) == 0 || strncmp(text, "file:/", 6) == 0 ||
             strncmp(text, "env:", 4) == 0 || strncmp(text, "git-credential:http", 19) == 0);
    } else {
        MUST(err.code == ERR_USAGE && err.msg[0]);
    }
    if (secret_name_valid(text))
        MUST(strlen(text) < SECRET_NAME_SIZE && !strchr(text, '/') && text[0] != '.');
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct secret_refs r, again;
    struct buf b;
    one_reference(bytes, len);
    if (secret_refs_parse(bytes, len, &r, &err) < 0) {
        MUST(err.code == ERR_USAGE && err.msg[0]);
        return 0;
    }
    const struct secret_ref *v = r.list.items;
    for (size_t i = 0; i < r.list.n; i++)
        MUST(secret_name_valid(v[i].name) && secret_ref_check(v[i].ref, &err) == 0);
    buf_init(&b, JSON_BYTES_MAX);
    MUST(json_encode(&secret_refs_shape, &r, &b, &err) == 0);
    MUST(secret_refs_parse(b.data, b.len, &again, &err) == 0);
    MUST(again.list.n == r.list.n);
    buf_done(&b);
    secret_refs_done(&again);
    secret_refs_done(&r);
    return 0;
}
