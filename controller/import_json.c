/* The importer's documents as tables: the summary line and review.json. */
#include "controller/importer.h"

static const struct json_field result_fields[] = {
    JSON_ROW(struct import_result, TEXT, commit),
    JSON_ROW(struct import_result, BOOL, refused),
    JSON_ROW(struct import_result, TEXT, reason),
    JSON_ROW(struct import_result, TEXT, secret, .optional = true),
    JSON_ROW(struct import_result, U64, diff_bytes),
    JSON_ROW(struct import_result, U64, pack_bytes),
    JSON_ROW(struct import_result, INT, files),
    JSON_ROW(struct import_result, INT, added),
    JSON_ROW(struct import_result, INT, removed),
    JSON_END,
};

const struct json_shape import_result_shape = {
    .size = sizeof(struct import_result),
    .fields = result_fields,
};

static const struct json_field file_fields[] = {
    JSON_ROW(struct import_file, TEXT, path),   JSON_ROW(struct import_file, TEXT, change),
    JSON_ROW(struct import_file, BOOL, binary), JSON_ROW(struct import_file, INT, added),
    JSON_ROW(struct import_file, INT, removed), JSON_END,
};

static const struct json_shape file_shape = {
    .size = sizeof(struct import_file),
    .fields = file_fields,
};

static const struct json_field flag_fields[] = {
    JSON_ROW(struct import_flag, TEXT, kind),
    JSON_ROW(struct import_flag, TEXT, path),
    JSON_ROW(struct import_flag, TEXT, why),
    JSON_END,
};

static const struct json_shape flag_shape = {
    .size = sizeof(struct import_flag),
    .fields = flag_fields,
};

static const struct json_field record_fields[] = {
    JSON_ROW(struct review_record, OBJ, summary, .shape = &import_result_shape),
    JSON_ROW(struct review_record, LIST, changes, .shape = &file_shape),
    JSON_ROW(struct review_record, LIST, flags, .shape = &flag_shape),
    JSON_END,
};

const struct json_shape review_record_shape = {
    .size = sizeof(struct review_record),
    .fields = record_fields,
};
