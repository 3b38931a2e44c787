/* What the dialects are called, in providers.json, profiles and records. */
#include "controller/broker/dialect.h"

const char *const dialect_names[DIALECT_COUNT + 1] = {"responses", "chat", "messages", NULL};
