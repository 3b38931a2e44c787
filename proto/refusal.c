/* The names that refusals have on the wire and what each tells a person. Data only. */
#include "proto/refusal.h"

#include <stddef.h>

const char *const refusal_names[REFUSAL_COUNT + 1] = {
    [REFUSED_SIZE] = "size",
    [REFUSED_MALFORMED] = "malformed",
    [REFUSED_SIGNATURE] = "signature",
    [REFUSED_TYPE] = "type",
    [REFUSED_PAYLOAD] = "payload",
    [REFUSED_AUDIENCE] = "audience",
    [REFUSED_NOT_YET] = "not-yet",
    [REFUSED_EXPIRED] = "expired",
    [REFUSED_REPLAY] = "replay",
    [REFUSED_FENCE] = "fence",
    [REFUSED_TOKEN] = "token",
    [REFUSED_LIMIT] = "limit",
    [REFUSED_EGRESS] = "egress",
    [REFUSED_BUSY] = "busy",
    [REFUSED_PACK_DIGEST] = "pack-digest",
    [REFUSED_PACK_SIZE] = "pack-size",
    [REFUSED_TREE] = "tree",
    [REFUSED_PROTOCOL] = "protocol",
    [REFUSED_UNKNOWN] = "unknown",
    [REFUSED_PROOF] = "proof",
    [REFUSED_INTERNAL] = "internal",
    [REFUSAL_COUNT] = NULL,
};

const char *const refusal_help[REFUSAL_COUNT + 1] = {
    [REFUSED_SIZE] = "the envelope is over the size limit: shorten the command, setup or tests",
    [REFUSED_MALFORMED] = "the envelope is not a DSSE document in strict JSON",
    [REFUSED_SIGNATURE] = "no controller key pinned on this host signed the envelope: enrol this "
                          "controller's key there",
    [REFUSED_TYPE] = "what was signed is not a creel task",
    [REFUSED_PAYLOAD] = "the signed task is not valid: controller and runner may differ in version",
    [REFUSED_AUDIENCE] = "the task is signed for another host: check the pinned host key",
    [REFUSED_NOT_YET] = "the task is not valid yet: compare the clocks of controller and host",
    [REFUSED_EXPIRED] =
        "the task has expired or may live too long: compare the clocks, send it anew",
    [REFUSED_REPLAY] = "this envelope was seen before: an attempt runs once, start another",
    [REFUSED_FENCE] = "a newer lease of this host exists: another controller holds it now",
    [REFUSED_TOKEN] =
        "the task token is not for this runner: its key changed, enrol the host again",
    [REFUSED_LIMIT] = "the host cannot enforce a limit of this task: choose another host or "
                      "--allow-unenforced that limit",
    [REFUSED_EGRESS] = "the task asks for network that this runner cannot gate",
    [REFUSED_BUSY] = "every slot of the host is taken: the task waits",
    [REFUSED_PACK_DIGEST] = "the source that arrived is not the source that was signed",
    [REFUSED_PACK_SIZE] = "the source that arrived is longer or shorter than what was signed",
    [REFUSED_TREE] = "the source tree cannot be checked out safely",
    [REFUSED_PROTOCOL] =
        "a message came that is not legal there: controller and runner may differ in "
        "version",
    [REFUSED_UNKNOWN] = "the runner does not have this attempt",
    [REFUSED_PROOF] = "what came is not from the controller that sent the attempt's envelope",
    [REFUSED_INTERNAL] = "the runner could not go on",
    [REFUSAL_COUNT] = NULL,
};
