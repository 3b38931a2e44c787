/* Whole, valid documents for tests to use and to spoil. Values differ wherever they can, so that a
 * member written to another's place is seen. */
#ifndef TESTS_UNIT_DOC_SAMPLES_H
#define TESTS_UNIT_DOC_SAMPLES_H

#include <string.h>

#include "proto/result.h"

#define SAMPLE_ID      "01jdq7z4m2r8k5t3w9x1y6b0cn"
#define SAMPLE_ATTEMPT SAMPLE_ID ".2"
#define SAMPLE_FPR_A   "SHA256:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE"
#define SAMPLE_FPR_B   "SHA256:BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE"
#define SAMPLE_BASE    "0123456789abcdef0123456789abcdef01234567"
#define SAMPLE_ROOT    "1123456789abcdef0123456789abcdef01234567"
#define SAMPLE_COMMIT  "2123456789abcdef0123456789abcdef01234567"

#define SET(member, text) memcpy(member, text, sizeof(text))

static inline void sample_bytes(uint8_t *out, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(seed + 7 * i);
}

static inline void sample_policy(struct policy *p)
{
    policy_init(p);
    p->limits[LIMIT_CPU] = 1500;
    strv_add(&p->egress, "github.com");
    strv_add(&p->egress, "*.example.org");
    SET(p->image, "debian-12");
    memset(p->cache, 'c', sizeof(p->cache) - 1);
    p->cache_keep = true;
    p->nested_userns = true;
    p->allow_unenforced = LIMIT_BIT(LIMIT_PIDS) | LIMIT_BIT(LIMIT_LOG);
}

static inline void sample_task(struct task *t)
{
    *t = (struct task){.iat = 1795430000, .nbf = 1795430001, .exp = 1795433600, .fence = 7};
    SET(t->id, SAMPLE_ID);
    SET(t->attempt, SAMPLE_ATTEMPT);
    SET(t->title, "fix the \"greeting\"\n\tin gr\xc3\xbc\xc3\x9f.py");
    SET(t->iss, SAMPLE_FPR_A);
    SET(t->aud_host, "vps-7");
    SET(t->aud_host_key, SAMPLE_FPR_B);
    sample_bytes(t->nonce, sizeof(t->nonce), 1);
    SET(t->base, SAMPLE_BASE);
    SET(t->root, SAMPLE_ROOT);
    SET(t->branch, "creel/" SAMPLE_ID);
    t->pack_bytes = 4294967295;
    sample_bytes(t->pack_sha256, sizeof(t->pack_sha256), 2);
    strv_add(&t->setup, "make deps");
    strv_add(&t->command, "sh");
    strv_add(&t->command, "-c");
    strv_add(&t->command, "printf 'x\\n' > \"y\" && true");
    strv_add(&t->tests, "make check");
    strv_add(&t->tests, "test -f y");
    sample_policy(&t->policy);
    sample_bytes(t->token_sha256, sizeof(t->token_sha256), 3);
    sample_bytes(t->token_sealed, sizeof(t->token_sealed), 4);
}

static const struct json_shape sample_step_shape = {sizeof(struct step_result), NULL};
static const struct json_shape sample_item_shape = {sizeof(struct receipt_item), NULL};

static inline void sample_step(struct result *r, enum step_kind kind, const char *name, int exit)
{
    struct step_result *s = json_list_push(&r->steps, &sample_step_shape);

    *s = (struct step_result){.kind = kind, .ran = true, .exit = exit, .ms = 12};
    s->signal = exit < 0 ? 9 : 0;
    memcpy(s->name, name, strlen(name) + 1);
}

static inline void sample_egress(struct result *r, const char *name, int port,
                                 enum egress_verdict verdict, const char *why)
{
    struct egress_entry *e = json_list_push(&r->egress, &egress_entry_shape);

    *e = (struct egress_entry){.port = port, .verdict = verdict, .count = 3};
    e->sent = verdict == EGRESS_ALLOWED ? 1234 : 0;
    e->received = verdict == EGRESS_ALLOWED ? 56789 : 0;
    memcpy(e->name, name, strlen(name) + 1);
    memcpy(e->why, why, strlen(why) + 1);
}

static inline void sample_gate(struct result *r)
{
    struct limit_hit *h;

    r->conns = 6;
    r->sent = 1234;
    r->received = 56789;
    r->dns = 9;
    r->egress_more = 4;
    sample_egress(r, "github.com", 443, EGRESS_ALLOWED, "");
    sample_egress(r, "example.com", 0, EGRESS_DENIED, "no rule allows it");
    h = json_list_push(&r->hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_MEM, .peak = 2147483648, .count = 1};
    h = json_list_push(&r->hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_DNS, .peak = 10000, .count = 17};
    memset(r->cache, 'd', sizeof(r->cache) - 1);
}

static inline void sample_result(struct result *r)
{
    *r = (struct result){.outcome = OUTCOME_FAILED,
                         .patch_bytes = 512,
                         .log_bytes = 4096,
                         .log_dropped_bytes = 3,
                         .started = 1795430000,
                         .finished = 1795430301,
                         .wall_ms = 300500,
                         .cpu_ms = 1200,
                         .mem_peak = 1048576,
                         .disk_peak = 77,
                         .unenforced = LIMIT_BIT(LIMIT_PIDS)};
    SET(r->task, SAMPLE_ID);
    SET(r->attempt, SAMPLE_ATTEMPT);
    SET(r->runner, SAMPLE_FPR_A);
    SET(r->program, "creel-runner 0.1.0");
    sample_bytes(r->envelope_sha256, 32, 5);
    sample_bytes(r->pack_sha256, 32, 6);
    SET(r->base, SAMPLE_BASE);
    SET(r->root, SAMPLE_ROOT);
    SET(r->reason, "test 1 exited 3");
    SET(r->commit, SAMPLE_COMMIT);
    sample_bytes(r->patch_sha256, 32, 7);
    sample_bytes(r->log_chain, 32, 8);
    sample_policy(&r->policy);
    sample_step(r, STEP_COMMAND, "sh -c 'x'", 0);
    sample_step(r, STEP_TEST, "make check", 3);
    sample_step(r, STEP_TEST, "make more", -1);
    sample_gate(r);
}

static inline void sample_receipt(struct receipt *r)
{
    struct receipt_item *item;

    *r = (struct receipt){.wiped = 1795430400, .memory_cleared = true};
    SET(r->task, SAMPLE_ID);
    SET(r->attempt, SAMPLE_ATTEMPT);
    SET(r->runner, SAMPLE_FPR_A);
    sample_bytes(r->result_sha256, 32, 9);
    SET(r->note, "evidence, not proof");
    item = json_list_push(&r->items, &sample_item_shape);
    SET(item->what, "processes");
    SET(item->how, "cgroup.kill, then populated 0");
    item->gone = true;
    item = json_list_push(&r->items, &sample_item_shape);
    SET(item->what, "work tree");
    SET(item->how, "unmounted");
    item->gone = true;
}

#endif
