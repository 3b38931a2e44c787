/* Pushes and lists of refs from any bytes: what passes names one branch and moves it from where it stands; what
 * is told instead is packets; a list says the same in whatever pieces it comes. */
#include <string.h>

#include "controller/broker/git_push.h"
#include "tests/fuzz/fuzz.h"

#define TIP "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void check_refusal(const struct git_push *push)
{
    struct buf to;
    struct pkt line;
    size_t at = 0, used;

    buf_init(&to, 1 << 20);
    MUST(git_push_refusal(push, "why", &to) == 0);
    while (at < to.len) {
        MUST(pkt_take(to.data + at, to.len - at, &line, &used) == 1);
        at += used;
    }
    for (size_t i = 0; i < push->n; i++)
        MUST(!git_push_taken(to.data, to.len, push, push->commands[i].ref));
    buf_done(&to);
}

static void try_push(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    const char *why = NULL;
    struct git_push push;
    size_t used = 0;
    int rc = git_push_parse(bytes, len, &push, &used, &why);

    if (rc < 0) {
        MUST(why && why[0]);
    } else if (rc > 0) {
        MUST(used >= 4 && used <= len && memcmp(bytes + used - 4, "0000", 4) == 0);
        if (push.n > 0 && git_push_judge(&push, "creel/1", TIP, &err) == 0)
            MUST(push.n == 1 && strcmp(push.commands[0].ref, "refs/heads/creel/1") == 0 &&
                 strcmp(push.commands[0].old, TIP) == 0 && !git_oid_none(push.commands[0].new));
    }
    check_refusal(&push);
    git_push_taken(bytes, len, &push, "refs/heads/creel/1");
}

static bool tip_of(const uint8_t *bytes, size_t len, size_t step, char tip[static GIT_OID_SIZE])
{
    struct git_tips t;
    bool known;

    git_tips_init(&t, "creel/1");
    for (size_t at = 0; at < len; at += step)
        git_tips_feed(&t, bytes + at, len - at < step ? len - at : step);
    known = git_tips_end(&t, tip);
    git_tips_done(&t);
    return known;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char one[GIT_OID_SIZE] = "", two[GIT_OID_SIZE] = "";
    bool known;

    if (len == 0)
        return 0;
    try_push(bytes, len);
    known = tip_of(bytes, len, len, one);
    MUST(tip_of(bytes, len, 1 + bytes[0] % 16, two) == known && strcmp(one, two) == 0);
    if (known)
        MUST(strlen(one) == 40 || strlen(one) == 64);
    return 0;
}
