/* What a controller orders of a runner after the envelope, signed like it: an SSH login alone can
 * neither cancel an attempt nor have its result forgotten.
 *
 * An order is good for one attempt on one host, for as long as that attempt is there: attempts are
 * admitted once, both orders may be repeated without harm, and a wipe names the result that is stored.
 * So it needs no time and no nonce.
 */
#ifndef PROTO_ORDER_H
#define PROTO_ORDER_H

#include "proto/id.h"
#include "proto/json.h"
#include "proto/key.h"

#define ORDER_TYPE "https://creel.dev/order/v1"

enum order_kind { ORDER_CANCEL, ORDER_WIPE, ORDER_KIND_COUNT };
extern const char *const order_kind_names[ORDER_KIND_COUNT + 1]; /* "cancel", "wipe" */

struct order {
    int kind; /* enum order_kind */
    char attempt[ATTEMPT_ID_SIZE];
    char iss[KEY_FPR_SIZE]; /* the key that signs it, which is the one that signed the task */
    char aud_host_key[KEY_FPR_SIZE]; /* fingerprint of the host's SSH host key */
    uint8_t result_sha256[32];       /* wipe: of the RESULT document that is stored; cancel: zero */
};

/* {"_type":..,"order":"wipe","attempt":..,"iss":..,"aud":..,"result_sha256":..} */
extern const struct json_shape order_shape;

/* Ids and fingerprints have their form, a cancel names no result. Errors: ERR_FAIL. No part of an
 * order is allocated. */
int order_check(const struct order *o, struct err *err);
int order_encode(const struct order *o, struct buf *to, struct err *err);
int order_decode(const void *bytes, size_t len, struct order *out, struct err *err);

#endif
