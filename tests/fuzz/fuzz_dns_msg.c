/* DNS questions from any bytes: the name is in its one form, what is shown is printable, and the answer
 * read by a reader of its own repeats the question and holds what was given, in at most 512 bytes. */
#include <ctype.h>
#include <string.h>

#include "runner/dns_msg.h"
#include "tests/fuzz/fuzz.h"

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void judge_answer(const uint8_t *query, const struct dns_question *q, enum dns_code code,
                         uint32_t address)
{
    uint8_t out[DNS_MSG_BYTES];
    struct dns_question again;
    size_t n = dns_answer_make(query, q, code, address, out);
    bool record = code == DNS_OK && address && q->type == 1 && q->class == 1;
    MUST(n >= 12 && n <= sizeof out && n == q->end + (record ? 16 : 0));
    MUST(get16(out) == q->id && (out[2] & 0x80) && (out[3] & 15) == (int)code);
    MUST(get16(out + 4) == (q->end > 12) && get16(out + 6) == record && get16(out + 8) == 0 &&
         get16(out + 10) == 0);
    MUST(memcmp(out + 12, query + 12, q->end - 12) == 0);
    if (record)
        MUST(memcmp(out + n - 4, &address, 4) == 0 && get16(out + n - 6) == 4);
    MUST(dns_question_parse(out, n, &again) == 0); /* two servers cannot talk for ever */
    if (q->end == 12)
        return;
    out[2] &= 0x7f; /* made a question again, it is the same one */
    out[7] = 0;
    MUST(dns_question_parse(out, q->end, &again) == 1);
    MUST(strcmp(again.name, q->name) == 0 && strcmp(again.shown, q->shown) == 0);
    MUST(again.type == q->type && again.class == q->class && again.end == q->end);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dns_question q;
    char again[DNS_NAME_SIZE];
    int rc = dns_question_parse(bytes, len, &q);
    MUST(rc >= -1 && rc <= 1);
    MUST((rc == 0) == (len < 12 || (bytes[2] & 0x80)));
    if (rc == 0)
        return 0;
    MUST(q.end >= 12 && q.end <= len);
    if (rc < 0) {
        MUST(q.end == 12);
        judge_answer(bytes, &q, DNS_FORMERR, 0);
        return 0;
    }
    MUST(len <= DNS_MSG_BYTES && strlen(q.shown) <= DNS_NAME_MAX);
    for (const char *p = q.shown; *p; p++)
        MUST(isalnum((unsigned char)*p) || strchr("-_.?", *p));
    if (q.name[0]) {
        MUST(dns_name_canon(q.name, strlen(q.name), again) && strcmp(again, q.name) == 0);
        MUST(strlen(q.shown) == strlen(q.name));
        for (size_t i = 0; q.name[i]; i++) /* by a reader of the wire's own bytes */
            MUST(q.name[i] == '.' || q.name[i] == tolower(bytes[13 + i]));
    }
    judge_answer(bytes, &q, DNS_OK, 0x0900407fu);
    judge_answer(bytes, &q, DNS_OK, 0);
    judge_answer(bytes, &q, DNS_NXDOMAIN, 0);
    return 0;
}
