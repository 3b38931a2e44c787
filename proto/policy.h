/* The policy of a task: limits, egress, what may go unenforced. Signed with the task, echoed in the
 * result. A limit that a host cannot enforce is refused, never dropped, unless `allow_unenforced`
 * names it. */
#ifndef PROTO_POLICY_H
#define PROTO_POLICY_H

#include "proto/egress.h"
#include "proto/json.h"
#include "proto/repo_access.h"
#include "proto/spend.h"

enum limit {
    LIMIT_MEM,   /* bytes of memory, swap 0 */
    LIMIT_PIDS,  /* processes and threads */
    LIMIT_CPU,   /* thousandths of a processor */
    LIMIT_WALL,  /* milliseconds from the first step to the last */
    LIMIT_DISK,  /* bytes of the attempt's own filesystem */
    LIMIT_LOG,   /* bytes of log payload kept; the rest is counted, not kept */
    LIMIT_CONNS, /* connections out of the jail, allowed and refused */
    LIMIT_SENT,  /* bytes sent out through the egress gate */
    LIMIT_DNS,   /* questions to the gate's name server */
    LIMIT_COUNT,
};

/* "mem", "pids", "cpu", "wall", "disk", "log", "conns", "sent", "dns" */
extern const char *const limit_names[LIMIT_COUNT + 1];
/* One line a limit: what it bounds and how it is enforced, for `doctor` and help. */
extern const char *const limit_help[LIMIT_COUNT + 1];

#define LIMIT_BIT(l) (1u << (l))

#define CACHE_DIGEST_SIZE 65 /* SHA-256 in lower-case hex, and NUL */

struct policy {
    uint64_t limits[LIMIT_COUNT]; /* in the units above; never 0 */
    struct strv egress;           /* rules, proto/egress.h; empty: loopback only */
    char image[65]; /* name of a root file system at the runner; empty: the host's own /usr */
    char cache
        [CACHE_DIGEST_SIZE];   /* SHA-256 in hex of a dependency cache at the runner; empty: none */
    bool cache_keep;           /* the operator trusts this task: keep what it leaves in its cache */
    bool nested_userns;        /* the job may make user namespaces: a sandbox of its own */
    unsigned allow_unenforced; /* LIMIT_BIT()s */
    struct spend spend;        /* at a model provider; nothing by default */
    struct repo_access repo;   /* of the repository's remote; none by default */
};

/* {"limits":{"mem_bytes":"..","pids":"..","cpu_milli":"..","wall_ms":"..","disk_bytes":"..",
 *  "log_bytes":"..","conns":"..","sent_bytes":"..","dns":".."},"egress":[..],"image":"..","cache":"..",
 *  "cache_keep":..,"nested_userns":..,"allow_unenforced":[..],"spend":{..},"repo":{..}} over struct
 * policy; spend and repo are left out when there is nothing in them. */
extern const struct json_shape policy_shape;

/* Lower and upper bounds of each limit, in its unit: mem 16 MiB .. 1 PiB, pids 4 .. 4194304,
 * cpu 0.01 .. 1024, wall 1 s .. 24 h, disk 1 MiB .. 1 PiB, log 64 KiB .. 1 TiB, conns 1 .. 1000000,
 * sent 1 KiB .. 1 PiB, dns 1 .. 1000000. */
struct limit_range {
    uint64_t min, max;
};
extern const struct limit_range limit_ranges[LIMIT_COUNT];

/* Are these the 64 digits that name a dependency cache? */
bool cache_digest_valid(const char *hex);
/* What the table cannot say: limits within limit_ranges, egress rules as egress_parse_all takes them,
 * `image` of [a-z0-9._-] and not beginning with '.', `cache` 64 hex digits. -ERR_USAGE, naming what. */
int policy_check(const struct policy *p, struct err *err);

/* How many connections a task may have open to its broker's door at once: some more than its calls in
 * flight, for clients keep idle ones. 0: it has no broker. */
unsigned policy_calls(const struct policy *p);

/* Defaults: mem 2 GiB, pids 512, cpu 2, wall 30 min, disk 4 GiB, log 64 MiB, conns 10000,
 * sent 1 GiB, dns 10000. */
void policy_init(struct policy *p);
void policy_done(struct policy *p);
/* `to` is zeroed or initialised; -1 out of memory, and `to` is as it was. */
int policy_copy(struct policy *to, const struct policy *from);
bool policy_same(const struct policy *a, const struct policy *b);
/* "mem=2G,pids=512,wall=30m,cpu=2,disk=4G,log=64M": sets the named ones. K M G T are binary; wall
 * takes s m h; cpu takes decimals ("0.5"). Unknown names, out of range, repeats: -ERR_USAGE, and
 * nothing was set. */
int policy_set_limits(struct policy *p, const char *text, struct err *err);
/* "mem,pids": adds to allow_unenforced. */
int policy_allow_unenforced(struct policy *p, const char *text, struct err *err);
/* Appends a person's form of one limit: "2 GiB", "512", "30 min", "2 cpus". */
int limit_format(enum limit l, uint64_t value, struct buf *to);
/* Appends the names in `bits` as "mem, pids, cpu"; nothing when 0. */
int limit_list(unsigned bits, struct buf *to);

#endif
