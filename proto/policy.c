/* Policy: parsing what a person typed, checking what a document said, printing both for people. */
#include "proto/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)
#define PIB (1ull << 50)

#define EGRESS_TEXT_MAX (DNS_NAME_MAX + 8) /* "*." and ":65535" */

const char *const limit_names[LIMIT_COUNT + 1] = {
    [LIMIT_MEM] = "mem",   [LIMIT_PIDS] = "pids", [LIMIT_CPU] = "cpu",     [LIMIT_WALL] = "wall",
    [LIMIT_DISK] = "disk", [LIMIT_LOG] = "log",   [LIMIT_CONNS] = "conns", [LIMIT_SENT] = "sent",
    [LIMIT_DNS] = "dns",   [LIMIT_COUNT] = NULL,
};

const char *const limit_help[LIMIT_COUNT + 1] = {
    [LIMIT_MEM] = "bytes of memory, no swap; cgroup v2 memory.max",
    [LIMIT_PIDS] = "processes and threads; cgroup v2 pids.max",
    [LIMIT_CPU] = "processors' worth of time, decimals allowed; cgroup v2 cpu.max",
    [LIMIT_WALL] = "time from the first step to the last; the runner's clock",
    [LIMIT_DISK] = "bytes of the attempt's own filesystem; its size",
    [LIMIT_LOG] = "bytes of log kept, the rest is only counted; the runner's spool",
    [LIMIT_CONNS] = "connections out of the jail, refused ones counted; the egress gate",
    [LIMIT_SENT] = "bytes sent out of the jail; the egress gate",
    [LIMIT_DNS] = "names asked for; the egress gate",
    [LIMIT_COUNT] = NULL,
};

const struct limit_range limit_ranges[LIMIT_COUNT] = {
    [LIMIT_MEM] = {16 * MIB, PIB},   [LIMIT_PIDS] = {4, 4194304},
    [LIMIT_CPU] = {10, 1024 * 1000}, [LIMIT_WALL] = {1000, 24 * 3600 * 1000},
    [LIMIT_DISK] = {MIB, PIB},       [LIMIT_LOG] = {64 * KIB, TIB},
    [LIMIT_CONNS] = {1, 1000000},    [LIMIT_SENT] = {KIB, PIB},
    [LIMIT_DNS] = {1, 1000000},
};

#define CALLS_SPARE 16 /* connections beyond the calls in flight */

/* What a suffix multiplies by; a NULL suffix ends a list. */
struct unit {
    const char *suffix, *shown;
    uint64_t factor;
};

static const struct unit bytes_units[] = {{"T", "TiB", TIB}, {"G", "GiB", GIB}, {"M", "MiB", MIB},
                                          {"K", "KiB", KIB}, {"", "B", 1},      {NULL}};
static const struct unit wall_units[] = {
    {"h", "h", 3600 * 1000}, {"m", "min", 60 * 1000}, {"s", "s", 1000}, {NULL}};
static const struct unit count_units[] = {{"", "", 1}, {NULL}};
static const struct unit cpu_units[] = {{"", "", 1000}, {NULL}};

struct limit_form {
    const struct unit *units;
    const char *example;
};

static const struct limit_form limit_forms[LIMIT_COUNT] = {
    [LIMIT_MEM] = {bytes_units, "512M or 2G"}, [LIMIT_PIDS] = {count_units, "512"},
    [LIMIT_CPU] = {cpu_units, "2 or 0.5"},     [LIMIT_WALL] = {wall_units, "90s, 30m or 2h"},
    [LIMIT_DISK] = {bytes_units, "4G"},        [LIMIT_LOG] = {bytes_units, "64M"},
    [LIMIT_CONNS] = {count_units, "1000"},     [LIMIT_SENT] = {bytes_units, "100M"},
    [LIMIT_DNS] = {count_units, "1000"},
};

void policy_init(struct policy *p)
{
    *p = (struct policy){.limits = {
                             [LIMIT_MEM] = 2 * GIB,
                             [LIMIT_PIDS] = 512,
                             [LIMIT_CPU] = 2000,
                             [LIMIT_WALL] = 30 * 60 * 1000,
                             [LIMIT_DISK] = 4 * GIB,
                             [LIMIT_LOG] = 64 * MIB,
                             [LIMIT_CONNS] = 10000,
                             [LIMIT_SENT] = GIB,
                             [LIMIT_DNS] = 10000,
                         }};
}

void policy_done(struct policy *p)
{
    json_release(&policy_shape, p);
}

int policy_copy(struct policy *to, const struct policy *from)
{
    struct strv egress = {0};
    struct spend spend = {0};

    if (strv_copy(&egress, &from->egress) < 0 || spend_copy(&spend, &from->spend) < 0) {
        strv_done(&egress);
        return -1;
    }
    policy_done(to);
    *to = *from;
    to->egress = egress;
    to->spend = spend;
    return 0;
}

unsigned policy_calls(const struct policy *p)
{
    bool git = p->repo.mode == REPO_READ || p->repo.mode == REPO_PUSH;
    if (!spend_any(&p->spend) && !git)
        return 0;
    return (unsigned)p->spend.in_flight + CALLS_SPARE;
}

bool policy_same(const struct policy *a, const struct policy *b)
{
    if (a->egress.n != b->egress.n)
        return false;
    for (size_t i = 0; i < a->egress.n; i++)
        if (strcmp(a->egress.v[i], b->egress.v[i]) != 0)
            return false;
    return memcmp(a->limits, b->limits, sizeof(a->limits)) == 0 &&
           strcmp(a->image, b->image) == 0 && strcmp(a->cache, b->cache) == 0 &&
           a->cache_keep == b->cache_keep && a->nested_userns == b->nested_userns &&
           a->allow_unenforced == b->allow_unenforced && spend_same(&a->spend, &b->spend) &&
           a->repo.mode == b->repo.mode && strcmp(a->repo.url, b->repo.url) == 0;
}

static bool image_valid(const char *name)
{
    return name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name);
}

bool cache_digest_valid(const char *hex)
{
    return strlen(hex) == CACHE_DIGEST_SIZE - 1 &&
           strspn(hex, "0123456789abcdef") == CACHE_DIGEST_SIZE - 1;
}

static int egress_check(const struct strv *egress, struct err *err)
{
    struct egress_rule *rules = calloc(EGRESS_RULES_MAX, sizeof(*rules));
    size_t n;
    int rc =
        rules ? egress_parse_all(egress, rules, &n, err) : err_set(err, ERR_FAIL, "out of memory");

    free(rules);
    return rc;
}

static int range_check(enum limit l, uint64_t value, struct err *err)
{
    const struct limit_range *r = &limit_ranges[l];
    struct buf text;
    int rc = 0;

    if (value >= r->min && value <= r->max)
        return 0;
    buf_init(&text, 128);
    limit_format(l, r->min, &text);
    buf_adds(&text, " to ");
    limit_format(l, r->max, &text);
    rc = err_set(err, ERR_USAGE, "limit '%s' is out of range: %s is possible", limit_names[l],
                 buf_str(&text));
    buf_done(&text);
    return rc;
}

int policy_check(const struct policy *p, struct err *err)
{
    for (unsigned l = 0; l < LIMIT_COUNT; l++) {
        int rc = range_check((enum limit)l, p->limits[l], err);
        if (rc < 0)
            return rc;
    }
    if (!image_valid(p->image))
        return err_set(err, ERR_USAGE, "image: '%.64s' is not the name of one", p->image);
    if (p->cache[0] && !cache_digest_valid(p->cache))
        return err_set(err, ERR_USAGE, "cache: '%.64s' is not a SHA-256 digest", p->cache);
    if (p->allow_unenforced >= LIMIT_BIT(LIMIT_COUNT))
        return err_set(err, ERR_USAGE, "allow_unenforced names an unknown limit");
    int rc = egress_check(&p->egress, err);
    if (rc == 0)
        rc = spend_check(&p->spend, err);
    return rc < 0 ? rc : repo_access_check(&p->repo, err);
}

/* One part of a comma-separated list, not NUL-terminated. */
struct part {
    const char *text;
    int len;
};

static struct part next_part(const char **at)
{
    struct part p = {*at, (int)strcspn(*at, ",")};

    *at += p.len;
    if (**at == ',')
        (*at)++;
    return p;
}

/* Index of the limit whose name is text[0..len), or -ERR_USAGE. `flag` names the option. */
static int limit_find(const char *flag, const char *text, int len, struct err *err)
{
    struct buf known;

    for (int l = 0; l < LIMIT_COUNT; l++) {
        if ((int)strlen(limit_names[l]) == len && memcmp(limit_names[l], text, (size_t)len) == 0)
            return l;
    }
    buf_init(&known, 128);
    limit_list(LIMIT_BIT(LIMIT_COUNT) - 1, &known);
    err_set(err, ERR_USAGE, "%s: unknown limit '%.*s'; known: %s", flag, len > 64 ? 64 : len, text,
            buf_str(&known));
    buf_done(&known);
    return -ERR_USAGE;
}

/* Digits with up to three decimals, as thousandths. Returns how many characters, or 0. */
static int parse_milli(const char *text, int len, uint64_t *ret)
{
    uint64_t whole = 0, milli = 0;
    int i = 0, scale = 100;

    for (; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        if (whole > PIB * 16)
            return 0;
        whole = whole * 10 + (uint64_t)(text[i] - '0');
    }
    if (i == 0 || whole > UINT64_MAX / 1000 - 1)
        return 0;
    if (i + 1 < len && text[i] == '.') {
        for (i++; i < len && text[i] >= '0' && text[i] <= '9' && scale > 0; i++, scale /= 10)
            milli += (uint64_t)((text[i] - '0') * scale);
        if (scale == 100)
            return 0;
    }
    *ret = whole * 1000 + milli;
    return i;
}

static int parse_value(enum limit l, struct part v, uint64_t *ret)
{
    uint64_t milli = 0;
    int used = parse_milli(v.text, v.len, &milli);

    for (const struct unit *u = limit_forms[l].units; used > 0 && u->suffix; u++) {
        if ((int)strlen(u->suffix) != v.len - used ||
            memcmp(u->suffix, v.text + used, strlen(u->suffix)) != 0)
            continue;
        /* "1.5G" is exact; "0.5" processes or "1.5555K" is not. */
        if (milli > 0 && u->factor > UINT64_MAX / milli)
            return -1;
        if (milli * u->factor % 1000 != 0)
            return -1;
        *ret = milli * u->factor / 1000;
        return 0;
    }
    return -1;
}

static int set_limit(uint64_t limits[LIMIT_COUNT], unsigned *seen, struct part p, struct err *err)
{
    const char *equals = memchr(p.text, '=', (size_t)p.len);
    int name_len = equals ? (int)(equals - p.text) : p.len;
    int cut = p.len > 64 ? 64 : p.len;
    int l = limit_find("--limit", p.text, name_len, err);
    struct part v;
    int rc;

    if (l < 0)
        return l;
    if (!equals)
        return err_set(err, ERR_USAGE, "--limit: '%s' has no value; write %s=VALUE, as %s",
                       limit_names[l], limit_names[l], limit_forms[l].example);
    if (*seen & LIMIT_BIT(l))
        return err_set(err, ERR_USAGE, "--limit: '%s' is given twice", limit_names[l]);
    v = (struct part){equals + 1, p.len - name_len - 1};
    if (parse_value((enum limit)l, v, &limits[l]) < 0)
        return err_set(err, ERR_USAGE, "--limit: '%.*s' is not understood; write %s as %s", cut,
                       p.text, limit_names[l], limit_forms[l].example);
    rc = range_check((enum limit)l, limits[l], err);
    if (rc < 0)
        return err_wrap(err, "--limit");
    *seen |= LIMIT_BIT(l);
    return 0;
}

int policy_set_limits(struct policy *p, const char *text, struct err *err)
{
    uint64_t limits[LIMIT_COUNT];
    unsigned seen = 0;

    if (strlen(text) > 1024)
        return err_set(err, ERR_USAGE, "--limit: too long");
    memcpy(limits, p->limits, sizeof(limits));
    do {
        int rc = set_limit(limits, &seen, next_part(&text), err);
        if (rc < 0)
            return rc;
    } while (*text || text[-1] == ',');
    memcpy(p->limits, limits, sizeof(limits));
    return 0;
}

int policy_allow_unenforced(struct policy *p, const char *text, struct err *err)
{
    unsigned bits = 0;

    if (strlen(text) > 1024)
        return err_set(err, ERR_USAGE, "--allow-unenforced: too long");
    do {
        struct part part = next_part(&text);
        int l = limit_find("--allow-unenforced", part.text, part.len, err);
        if (l < 0)
            return l;
        bits |= LIMIT_BIT(l);
    } while (*text || text[-1] == ',');
    p->allow_unenforced |= bits;
    return 0;
}

/* value / factor with one decimal when that is not whole. */
static int format_unit(uint64_t value, const struct unit *u, struct buf *to)
{
    uint64_t whole = value / u->factor, rest = value % u->factor;
    uint64_t tenth = rest / (u->factor / 10 > 0 ? u->factor / 10 : 1);

    if (rest == 0)
        return buf_addf(to, "%llu %s", (unsigned long long)whole, u->shown);
    return buf_addf(to, "%llu.%llu %s", (unsigned long long)whole,
                    (unsigned long long)(tenth > 9 ? 9 : tenth), u->shown);
}

static int format_cpu(uint64_t milli, struct buf *to)
{
    char text[32];
    size_t n;

    snprintf(text, sizeof(text), "%llu.%03u", (unsigned long long)(milli / 1000),
             (unsigned)(milli % 1000));
    n = strlen(text);
    while (text[n - 1] == '0')
        n--;
    if (text[n - 1] == '.')
        n--;
    return buf_addf(to, "%.*s %s", (int)n, text, milli == 1000 ? "cpu" : "cpus");
}

/* Whole minutes and hours as such; else seconds below two minutes, minutes above. */
static int format_wall(uint64_t ms, struct buf *to)
{
    if (ms < 1000)
        return buf_addf(to, "%llu ms", (unsigned long long)ms);
    for (const struct unit *u = wall_units; u->suffix; u++) {
        if (ms >= u->factor && (ms % u->factor == 0 || (u->factor == 60000 && ms >= 120000)))
            return format_unit(ms, u, to);
    }
    return format_unit(ms, &wall_units[2], to);
}

int limit_format(enum limit l, uint64_t value, struct buf *to)
{
    const struct unit *u = bytes_units;

    if (l == LIMIT_PIDS || l == LIMIT_CONNS || l == LIMIT_DNS)
        return buf_addf(to, "%llu", (unsigned long long)value);
    if (l == LIMIT_CPU)
        return format_cpu(value, to);
    if (l == LIMIT_WALL)
        return format_wall(value, to);
    while (u->factor > 1 && value < u->factor)
        u++;
    return format_unit(value, u, to);
}

int limit_list(unsigned bits, struct buf *to)
{
    const char *comma = "";

    for (int l = 0; l < LIMIT_COUNT; l++) {
        if (!(bits & LIMIT_BIT(l)))
            continue;
        if (buf_addf(to, "%s%s", comma, limit_names[l]) < 0)
            return -1;
        comma = ", ";
    }
    return 0;
}

#define LIMIT_ROW(l, key)                                                              \
    {                                                                                  \
        .name = (key), .kind = JSON_U64, .offset = offsetof(struct policy, limits[l]), \
        .size = sizeof(uint64_t)                                                       \
    }

static const struct json_field limits_fields[] = {
    LIMIT_ROW(LIMIT_MEM, "mem_bytes"),   LIMIT_ROW(LIMIT_PIDS, "pids"),
    LIMIT_ROW(LIMIT_CPU, "cpu_milli"),   LIMIT_ROW(LIMIT_WALL, "wall_ms"),
    LIMIT_ROW(LIMIT_DISK, "disk_bytes"), LIMIT_ROW(LIMIT_LOG, "log_bytes"),
    LIMIT_ROW(LIMIT_CONNS, "conns"),     LIMIT_ROW(LIMIT_SENT, "sent_bytes"),
    LIMIT_ROW(LIMIT_DNS, "dns"),         JSON_END,
};
static const struct json_shape limits_shape = {sizeof(struct policy), limits_fields};

static const struct json_field policy_fields[] = {
    JSON_GROUP("limits", &limits_shape),
    JSON_ROW(struct policy, STRS, egress, .max = EGRESS_TEXT_MAX),
    JSON_ROW(struct policy, TEXT, image),
    JSON_ROW(struct policy, TEXT, cache),
    JSON_ROW(struct policy, BOOL, cache_keep),
    JSON_ROW(struct policy, BOOL, nested_userns),
    JSON_ROW(struct policy, BITS, allow_unenforced, .names = limit_names),
    JSON_ROW(struct policy, OBJ, spend, .shape = &spend_shape, .optional = true),
    JSON_ROW(struct policy, OBJ, repo, .shape = &repo_access_shape, .optional = true),
    JSON_END,
};
const struct json_shape policy_shape = {sizeof(struct policy), policy_fields};
