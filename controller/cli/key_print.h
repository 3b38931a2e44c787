/* A public key in the form asked for: what `key show` and `host key` have in common. */
#ifndef CONTROLLER_CLI_KEY_PRINT_H
#define CONTROLLER_CLI_KEY_PRINT_H

#include <stdbool.h>

#include "proto/key.h"

struct key_form {
    bool pem, ssh, json; /* none: fingerprint and ssh line */
};

int key_print(const uint8_t pub[static KEY_PUB_BYTES], const char *comment,
              const struct key_form *form, struct err *err);

#endif
