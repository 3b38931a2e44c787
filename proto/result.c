/* The result as an in-toto Statement v1 with an SLSA provenance v1 predicate.
 *
 * The public formats say some things twice or in forms of their own (a subject's name, a builder's
 * URI, RFC 3339 times): `struct statement` holds the flat result and those derived members, tables
 * describe the document over it, and reading refuses a document whose derived members disagree.
 */
#include "proto/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "proto/rfc3339.h"
#include "proto/utf8.h"

#define BUILDER_SCHEME  "creel-runner:"
#define SUBJECT_PATCH   "patch"
#define SUBJECT_NOTHING "unchanged"

const char *const step_kind_names[STEP_KIND_COUNT + 1] = {
    [STEP_CHECKOUT] = "checkout", [STEP_SETUP] = "setup",     [STEP_COMMAND] = "command",
    [STEP_TEST] = "test",         [STEP_COLLECT] = "collect", [STEP_KIND_COUNT] = NULL,
};

const char *const egress_verdict_names[EGRESS_VERDICT_COUNT + 1] = {
    [EGRESS_ALLOWED] = "allowed", [EGRESS_DENIED] = "denied",   [EGRESS_REFUSED] = "refused",
    [EGRESS_FAILED] = "failed",   [EGRESS_LIMITED] = "limited", [EGRESS_VERDICT_COUNT] = NULL,
};

struct statement {
    struct result r;
    char subject[16];                   /* SUBJECT_PATCH or SUBJECT_NOTHING */
    char subject_commit[TASK_OID_SIZE]; /* the patch's commit, or the root it leaves as it was */
    uint8_t subject_sha256[32];         /* of the patch pack, or of nothing */
    char builder[sizeof(BUILDER_SCHEME) + KEY_FPR_SIZE];
    char invocation[ATTEMPT_ID_SIZE]; /* the attempt */
    char started[RFC3339_SIZE], finished[RFC3339_SIZE];
};

static const struct json_shape statement_shape; /* at the end of the file, after its parts */

static int check_patch(const struct result *r, struct err *err)
{
    if (r->commit[0] == 0)
        return r->patch_bytes == 0 ? 0 : err_set(err, ERR_FAIL, "patch: bytes without a commit");
    if (!oid_valid(r->commit))
        return err_set(err, ERR_FAIL, "patch: not a commit id");
    if (r->patch_bytes == 0 || r->patch_bytes > TASK_PACK_MAX)
        return err_set(err, ERR_FAIL, "patch: size out of range");
    return 0;
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

/* ASCII alone: these texts begin with what an agent asked for, and RESULT_EGRESS_MAX of them must fit
 * in a document. */
static int check_egress(const struct result *r, struct err *err)
{
    for (size_t i = 0; i < r->egress.n; i++) {
        const struct egress_entry *e = (const struct egress_entry *)r->egress.items + i;
        if (!e->name[0] || !printable(e->name) || !printable(e->why))
            return err_set(err, ERR_FAIL, "egress[%zu]: not printable", i);
        if (e->port < 0 || e->port > 65535)
            return err_set(err, ERR_FAIL, "egress[%zu]: no such port", i);
    }
    return 0;
}

static int check_hits(const struct result *r, struct err *err)
{
    unsigned seen = 0;

    for (size_t i = 0; i < r->hits.n; i++) {
        const struct limit_hit *h = (const struct limit_hit *)r->hits.items + i;
        if (h->limit < 0 || h->limit >= LIMIT_COUNT)
            return err_set(err, ERR_FAIL, "hits[%zu]: no such limit", i);
        if (seen & LIMIT_BIT(h->limit))
            return err_set(err, ERR_FAIL, "hits[%zu]: a limit twice", i);
        seen |= LIMIT_BIT(h->limit);
    }
    return 0;
}

static int check_cache(const struct result *r, struct err *err)
{
    if (r->cache[0] && !cache_digest_valid(r->cache))
        return err_set(err, ERR_FAIL, "cache: not a SHA-256 digest");
    if (r->cache[0] && !r->policy.cache_keep)
        return err_set(err, ERR_FAIL, "cache: kept, though the policy does not say so");
    return 0;
}

/* What neither the table nor the derived members say. */
static int check_result(const struct result *r, struct err *err)
{
    char task[ID_SIZE];

    if (!id_valid(r->task) || !attempt_id_valid(r->attempt))
        return err_set(err, ERR_FAIL, "task or attempt: not an id");
    attempt_id_task(r->attempt, task);
    if (strcmp(task, r->task) != 0)
        return err_set(err, ERR_FAIL, "attempt: of another task");
    if (!key_fingerprint_valid(r->runner))
        return err_set(err, ERR_FAIL, "builder: not a key fingerprint");
    /* It stands in pull requests: a name and a version, and no markup, mention or reference. */
    if (!r->program[0] ||
        r->program[strspn(r->program, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789 .+~-")])
        return err_set(err, ERR_FAIL, "version: not a program's name and version");
    if (!oid_valid(r->base) || !oid_valid(r->root))
        return err_set(err, ERR_FAIL, "base or root: not a commit id");
    for (size_t i = 0; i < r->steps.n; i++) {
        const struct step_result *s = (const struct step_result *)r->steps.items + i;
        if (s->exit < -1 || s->exit > 255 || s->signal < 0 || s->signal > 127)
            return err_set(err, ERR_FAIL, "steps[%zu]: no such exit status", i);
    }
    if (policy_check(&r->policy, err) < 0)
        return err_wrap(err, "policy");
    if (check_egress(r, err) < 0 || check_hits(r, err) < 0 || check_cache(r, err) < 0)
        return -ERR_FAIL;
    return check_patch(r, err);
}

static void derive_subject(struct statement *s)
{
    bool patch = s->r.commit[0] != 0;

    utf8_copy(s->subject, sizeof(s->subject), patch ? SUBJECT_PATCH : SUBJECT_NOTHING);
    utf8_copy(s->subject_commit, sizeof(s->subject_commit), patch ? s->r.commit : s->r.root);
    if (patch)
        memcpy(s->subject_sha256, s->r.patch_sha256, sizeof(s->subject_sha256));
    else
        crypto_hash_sha256(s->subject_sha256, (const uint8_t *)"", 0);
}

static int derive(struct statement *s, struct err *err)
{
    derive_subject(s);
    snprintf(s->builder, sizeof(s->builder), "%s%s", BUILDER_SCHEME, s->r.runner);
    memcpy(s->invocation, s->r.attempt, sizeof(s->invocation));
    if (!rfc3339_format(s->r.started, s->started) || !rfc3339_format(s->r.finished, s->finished))
        return err_set(err, ERR_FAIL, "started or finished: beyond the year 9999");
    return 0;
}

/* A copy of the steps with texts made writable: a name cut inside a character, or with an escape
 * sequence in it, must not cost the operator a paid result. */
static int repair_steps(const struct json_list *from, struct step_result copy[RESULT_STEPS_MAX],
                        struct json_list *to, struct err *err)
{
    if (from->n > RESULT_STEPS_MAX)
        return err_set(err, ERR_FAIL, "steps: %zu, at most %d are possible", from->n,
                       RESULT_STEPS_MAX);
    if (from->n > 0)
        memcpy(copy, from->items, from->n * sizeof(*copy));
    for (size_t i = 0; i < from->n; i++) {
        copy[i].name[sizeof(copy[i].name) - 1] = 0;
        utf8_repair(copy[i].name, true);
    }
    *to = (struct json_list){from->n, copy};
    return 0;
}

static void repair_ascii(char *text, size_t size)
{
    text[size - 1] = 0;
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

/* As repair_steps. `copy` has room for RESULT_EGRESS_MAX. */
static int repair_egress(const struct json_list *from, struct egress_entry *copy,
                         struct json_list *to, struct err *err)
{
    if (from->n > RESULT_EGRESS_MAX)
        return err_set(err, ERR_FAIL, "egress: %zu entries, at most %d are possible", from->n,
                       RESULT_EGRESS_MAX);
    if (from->n > 0)
        memcpy(copy, from->items, from->n * sizeof(*copy));
    for (size_t i = 0; i < from->n; i++) {
        repair_ascii(copy[i].name, sizeof(copy[i].name));
        repair_ascii(copy[i].why, sizeof(copy[i].why));
        if (!copy[i].name[0])
            utf8_copy(copy[i].name, sizeof(copy[i].name), "?");
    }
    *to = (struct json_list){from->n, copy};
    return 0;
}

int result_encode(const struct result *r, struct buf *to, struct err *err)
{
    struct step_result steps[RESULT_STEPS_MAX];
    struct egress_entry *egress = calloc(RESULT_EGRESS_MAX, sizeof(*egress));
    struct statement s = {.r = *r}; /* shallow: nothing below is released */
    int rc;

    if (!egress)
        return err_set(err, ERR_FAIL, "out of memory");
    s.r.reason[sizeof(s.r.reason) - 1] = 0;
    utf8_repair(s.r.reason, true);
    rc = repair_steps(&r->steps, steps, &s.r.steps, err);
    if (rc == 0)
        rc = repair_egress(&r->egress, egress, &s.r.egress, err);
    if (rc == 0)
        rc = check_result(&s.r, err);
    if (rc == 0)
        rc = derive(&s, err);
    if (rc == 0)
        rc = json_encode(&statement_shape, &s, to, err);
    free(egress);
    return rc;
}

/* Fills the members of the flat result that the document holds in another form. */
static int resolve(struct statement *s, struct err *err)
{
    if (strcmp(s->subject, SUBJECT_PATCH) == 0) {
        memcpy(s->r.commit, s->subject_commit, sizeof(s->r.commit));
        memcpy(s->r.patch_sha256, s->subject_sha256, sizeof(s->r.patch_sha256));
    } else if (strcmp(s->subject, SUBJECT_NOTHING) != 0) {
        return err_set(err, ERR_FAIL, "subject: neither a patch nor unchanged");
    }
    if (strncmp(s->builder, BUILDER_SCHEME, strlen(BUILDER_SCHEME)) != 0)
        return err_set(err, ERR_FAIL, "builder: not a creel runner");
    utf8_copy(s->r.runner, sizeof(s->r.runner), s->builder + strlen(BUILDER_SCHEME));
    if (!rfc3339_parse(s->started, &s->r.started) || !rfc3339_parse(s->finished, &s->r.finished))
        return err_set(err, ERR_FAIL, "startedOn or finishedOn: not an RFC 3339 UTC time");
    return check_result(&s->r, err);
}

/* What is derived from the flat result must be what the document says. */
static int check_derived(const struct statement *s, struct err *err)
{
    struct statement again = {.r = s->r};
    int rc = derive(&again, err);

    if (rc < 0)
        return rc;
    if (strcmp(again.subject_commit, s->subject_commit) != 0 ||
        memcmp(again.subject_sha256, s->subject_sha256, sizeof(again.subject_sha256)) != 0)
        return err_set(err, ERR_FAIL, "subject: its digest is not the root's and of nothing");
    if (strcmp(again.builder, s->builder) != 0)
        return err_set(err, ERR_FAIL, "builder: not a key fingerprint");
    if (strcmp(again.invocation, s->invocation) != 0)
        return err_set(err, ERR_FAIL, "invocationId: another attempt");
    return 0;
}

int result_decode(const void *bytes, size_t len, struct result *out, struct err *err)
{
    struct statement s;
    int rc;

    memset(out, 0, sizeof(*out));
    rc = json_decode(&statement_shape, bytes, len, &s, err);
    if (rc < 0)
        return rc;
    rc = resolve(&s, err);
    if (rc == 0)
        rc = check_derived(&s, err);
    if (rc < 0)
        json_release(&statement_shape, &s);
    else
        *out = s.r; /* transferred: lists and all */
    return rc;
}

void result_done(struct result *r)
{
    struct statement s = {.r = *r};

    json_release(&statement_shape, &s);
    memset(r, 0, sizeof(*r));
}

/* The document, innermost first. Every table is over struct statement, but a step's. */
#define S struct statement
#define SHAPE(name) \
    static const struct json_shape name##_shape = {sizeof(struct statement), name##_fields}

static const char *const statement_types[] = {RESULT_STATEMENT_TYPE, NULL};
static const char *const predicate_types[] = {RESULT_PREDICATE_TYPE, NULL};
static const char *const build_types[] = {TASK_TYPE, NULL};
static const char *const uri_base[] = {"creel:base", NULL};
static const char *const uri_root[] = {"creel:root", NULL};
static const char *const uri_pack[] = {"creel:source-pack", NULL};
static const char *const uri_envelope[] = {"creel:envelope", NULL};
static const char *const uri_log[] = {"creel:log", NULL};
static const char *const name_log[] = {"log", NULL};

static const struct json_field subject_digest_fields[] = {
    JSON_ROW_AS(S, HEX, subject_sha256, "sha256"),
    JSON_ROW_AS(S, TEXT, subject_commit, "gitCommit"),
    JSON_END,
};
SHAPE(subject_digest);

static const struct json_field subject_fields[] = {
    JSON_ROW_AS(S, TEXT, subject, "name"),
    JSON_GROUP("digest", &subject_digest_shape),
    JSON_END,
};
SHAPE(subject);

static const struct json_field subjects_fields[] = {
    JSON_GROUP("0", &subject_shape),
    JSON_END,
};
SHAPE(subjects);

static const struct json_field external_fields[] = {
    JSON_ROW_AS(S, TEXT, r.task, "task"),
    JSON_ROW_AS(S, TEXT, r.attempt, "attempt"),
    JSON_ROW_AS(S, OBJ, r.policy, "policy", .shape = &policy_shape),
    JSON_END,
};
SHAPE(external);

static const struct json_field internal_fields[] = {
    JSON_ROW_AS(S, BITS, r.unenforced, "unenforced", .names = limit_names),
    JSON_END,
};
SHAPE(internal);

/* One resolved dependency: a URI of ours and one digest. */
#define DEPENDENCY(name, KIND, member, algorithm)             \
    static const struct json_field name##_digest_fields[] = { \
        JSON_ROW_AS(S, KIND, member, algorithm),              \
        JSON_END,                                             \
    };                                                        \
    SHAPE(name##_digest);                                     \
    static const struct json_field name##_fields[] = {        \
        JSON_FIXED("uri", uri_##name),                        \
        JSON_GROUP("digest", &name##_digest_shape),           \
        JSON_END,                                             \
    };                                                        \
    SHAPE(name)

DEPENDENCY(base, TEXT, r.base, "gitCommit");
DEPENDENCY(root, TEXT, r.root, "gitCommit");
DEPENDENCY(pack, HEX, r.pack_sha256, "sha256");
DEPENDENCY(envelope, HEX, r.envelope_sha256, "sha256");

static const struct json_field dependencies_fields[] = {
    JSON_GROUP("0", &base_shape),
    JSON_GROUP("1", &root_shape),
    JSON_GROUP("2", &pack_shape),
    JSON_GROUP("3", &envelope_shape),
    JSON_END,
};
SHAPE(dependencies);

static const struct json_field definition_fields[] = {
    JSON_FIXED("buildType", build_types),
    JSON_GROUP("externalParameters", &external_shape),
    JSON_GROUP("internalParameters", &internal_shape),
    JSON_GROUP_TUPLE("resolvedDependencies", &dependencies_shape),
    JSON_END,
};
SHAPE(definition);

static const struct json_field version_fields[] = {
    JSON_ROW_AS(S, TEXT, r.program, "creel-runner"),
    JSON_END,
};
SHAPE(version);

static const struct json_field builder_fields[] = {
    JSON_ROW_AS(S, TEXT, builder, "id"),
    JSON_GROUP("version", &version_shape),
    JSON_END,
};
SHAPE(builder);

static const struct json_field metadata_fields[] = {
    JSON_ROW_AS(S, TEXT, invocation, "invocationId"),
    JSON_ROW_AS(S, TEXT, started, "startedOn"),
    JSON_ROW_AS(S, TEXT, finished, "finishedOn"),
    JSON_END,
};
SHAPE(metadata);

/* The log's digest is a hash chain, not the SHA-256 of a file: it may not stand in a digest map. */
static const struct json_field log_annotations_fields[] = {
    JSON_ROW_AS(S, HEX, r.log_chain, "chain"),
    JSON_ROW_AS(S, U64, r.log_bytes, "bytes"),
    JSON_ROW_AS(S, U64, r.log_dropped_bytes, "dropped_bytes"),
    JSON_END,
};
SHAPE(log_annotations);

static const struct json_field log_fields[] = {
    JSON_FIXED("name", name_log),
    JSON_FIXED("uri", uri_log),
    JSON_GROUP("annotations", &log_annotations_shape),
    JSON_END,
};
SHAPE(log);

static const struct json_field byproducts_fields[] = {
    JSON_GROUP("0", &log_shape),
    JSON_END,
};
SHAPE(byproducts);

static const struct json_field step_fields[] = {
    JSON_ROW(struct step_result, ENUM, kind, .names = step_kind_names),
    JSON_ROW(struct step_result, PROSE, name),
    JSON_ROW(struct step_result, BOOL, ran),
    JSON_ROW(struct step_result, INT, exit),
    JSON_ROW(struct step_result, INT, signal),
    JSON_ROW(struct step_result, U64, ms),
    JSON_END,
};
static const struct json_shape step_shape = {sizeof(struct step_result), step_fields};

/* Not an annotation of the subject: the older readers of Statement v1 know only name and digest. */
static const struct json_field patch_fields[] = {
    JSON_ROW_AS(S, U64, r.patch_bytes, "bytes"),
    JSON_END,
};
SHAPE(patch);

static const struct json_field usage_fields[] = {
    JSON_ROW_AS(S, U64, r.wall_ms, "wall_ms"),
    JSON_ROW_AS(S, U64, r.cpu_ms, "cpu_ms"),
    JSON_ROW_AS(S, U64, r.mem_peak, "mem_peak_bytes", .optional = true),
    JSON_ROW_AS(S, U64, r.pids_peak, "pids_peak", .optional = true),
    JSON_ROW_AS(S, U64, r.disk_peak, "disk_peak_bytes", .optional = true),
    JSON_END,
};
SHAPE(usage);

static const struct json_field entry_fields[] = {
    JSON_ROW(struct egress_entry, TEXT, name),
    JSON_ROW(struct egress_entry, INT, port),
    JSON_ROW(struct egress_entry, ENUM, verdict, .names = egress_verdict_names),
    JSON_ROW(struct egress_entry, TEXT, why),
    JSON_ROW(struct egress_entry, U64, count),
    JSON_ROW(struct egress_entry, U64, sent),
    JSON_ROW(struct egress_entry, U64, received),
    JSON_END,
};
const struct json_shape egress_entry_shape = {sizeof(struct egress_entry), entry_fields};

static const struct json_field egress_fields[] = {
    JSON_ROW_AS(S, U64, r.conns, "conns"),
    JSON_ROW_AS(S, U64, r.sent, "sent_bytes"),
    JSON_ROW_AS(S, U64, r.received, "received_bytes"),
    JSON_ROW_AS(S, U64, r.dns, "dns"),
    JSON_ROW_AS(S, LIST, r.egress, "entries", .shape = &egress_entry_shape,
                .max = RESULT_EGRESS_MAX),
    JSON_ROW_AS(S, U64, r.egress_more, "more"),
    JSON_END,
};
SHAPE(egress);

static const struct json_field hit_fields[] = {
    JSON_ROW(struct limit_hit, ENUM, limit, .names = limit_names),
    JSON_ROW(struct limit_hit, U64, peak),
    JSON_ROW(struct limit_hit, U64, count),
    JSON_END,
};
const struct json_shape limit_hit_shape = {sizeof(struct limit_hit), hit_fields};

static const struct json_field run_fields[] = {
    JSON_GROUP("builder", &builder_shape),
    JSON_GROUP("metadata", &metadata_shape),
    JSON_GROUP_TUPLE("byproducts", &byproducts_shape),
    JSON_ROW_AS(S, ENUM, r.outcome, "creel_outcome", .names = outcome_names),
    JSON_ROW_AS(S, PROSE, r.reason, "creel_reason"),
    JSON_ROW_AS(S, LIST, r.steps, "creel_steps", .shape = &step_shape, .max = RESULT_STEPS_MAX),
    JSON_GROUP("creel_patch", &patch_shape),
    JSON_GROUP("creel_usage", &usage_shape),
    JSON_GROUP("creel_egress", &egress_shape),
    JSON_ROW_AS(S, LIST, r.hits, "creel_hits", .shape = &limit_hit_shape, .max = LIMIT_COUNT),
    JSON_ROW_AS(S, TEXT, r.cache, "creel_cache"),
    JSON_END,
};
SHAPE(run);

static const struct json_field predicate_fields[] = {
    JSON_GROUP("buildDefinition", &definition_shape),
    JSON_GROUP("runDetails", &run_shape),
    JSON_END,
};
SHAPE(predicate);

static const struct json_field statement_fields[] = {
    JSON_FIXED("_type", statement_types),
    JSON_GROUP_TUPLE("subject", &subjects_shape),
    JSON_FIXED("predicateType", predicate_types),
    JSON_GROUP("predicate", &predicate_shape),
    JSON_END,
};
static const struct json_shape statement_shape = {sizeof(struct statement), statement_fields};
