/* Making and checking task and attempt ids. Pure: clock and random bytes are the caller's. */
#include "proto/id.h"

#include <stdio.h>
#include <string.h>

#define ID_CHARS    (ID_SIZE - 1)
#define ATTEMPT_MAX 9999u

static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";

void id_make(uint64_t now_ms, const uint8_t rnd[static 10], char out[static ID_SIZE])
{
    uint8_t bits[16];

    for (int i = 0; i < 6; i++)
        bits[i] = (uint8_t)(now_ms >> (8 * (5 - i)));
    memcpy(bits + 6, rnd, 10);
    /* 26 digits hold 130 bits: the 128 are right-aligned, so digit i starts at bit 5 * i - 2. */
    for (int i = 0; i < ID_CHARS; i++) {
        unsigned digit = 0;
        for (int bit = 5 * i - 2; bit < 5 * i + 3; bit++)
            digit = digit << 1 | (bit < 0 ? 0 : bits[bit / 8] >> (7 - bit % 8) & 1u);
        out[i] = crockford[digit];
    }
    out[ID_CHARS] = 0;
}

/* The first ID_CHARS characters have the form; what follows is not looked at. */
static bool id_prefix_valid(const char *id)
{
    if (id[0] < '0' || id[0] > '7') /* beyond '7' the digits overflow 128 bits */
        return false;
    for (int i = 0; i < ID_CHARS; i++) {
        if (id[i] == 0 || !strchr(crockford, id[i]))
            return false;
    }
    return true;
}

bool id_valid(const char *id)
{
    return id_prefix_valid(id) && id[ID_CHARS] == 0;
}

void attempt_id_make(const char *task_id, unsigned n, char out[static ATTEMPT_ID_SIZE])
{
    /* Out of range gives the empty id, which is valid nowhere. */
    if (!id_valid(task_id) || n == 0 || n > ATTEMPT_MAX) {
        out[0] = 0;
        return;
    }
    snprintf(out, ATTEMPT_ID_SIZE, "%.26s.%u", task_id, n % (ATTEMPT_MAX + 1));
}

bool attempt_id_valid(const char *id)
{
    const char *n;
    size_t digits;

    if (!id_prefix_valid(id) || id[ID_CHARS] != '.')
        return false;
    n = id + ID_CHARS + 1;
    digits = strspn(n, "0123456789");
    return digits >= 1 && digits <= 4 && n[0] != '0' && n[digits] == 0;
}

void attempt_id_task(const char *attempt, char out[static ID_SIZE])
{
    snprintf(out, ID_SIZE, "%.26s", attempt);
}
