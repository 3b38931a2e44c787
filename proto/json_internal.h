/* What the JSON reader's and writer's files share; nobody else includes this.
 *
 * json_scan.c judges bytes, json.c turns them into structs, json_encode.c back, json_path.c says
 * where something was wrong.
 */
#ifndef PROTO_JSON_INTERNAL_H
#define PROTO_JSON_INTERNAL_H

#include "proto/json.h"

/* json_check_within(), and with `integers_only` every number must be a plain integer ("-0" is not). */
int json_scan(const void *bytes, size_t len, const struct json_bounds *bounds, bool integers_only,
              struct err *err);
extern const struct json_bounds json_bounds_usual;

/* Where a walk over a document stands: "policy.limits.wall_ms". Too long a path is cut. */
struct json_path {
    struct err *err;
    size_t len;
    char text[256];
};

/* Each returns the length to hand to json_path_pop. */
size_t json_path_push(struct json_path *p, const char *key);
size_t json_path_push_index(struct json_path *p, size_t i);
void json_path_pop(struct json_path *p, size_t len);
/* "PATH: what", -ERR_FAIL. */
int json_path_fail(struct json_path *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* NULL when text[0..n) may stand in a JSON_TEXT (or with `prose` JSON_PROSE) member, else what is
 * wrong with it. */
const char *json_text_fault(const char *text, size_t n, bool prose);
/* Bytes that one string of a JSON_STRS row may have. */
size_t json_strs_max(const struct json_field *f);
/* Elements that a JSON_LIST or JSON_STRS row may have. */
size_t json_items_max(const struct json_field *f);

#endif
