/* The gate as a whole: its doors, what it counts, the account it gives, its end. What a connection
 * does stands in the other gate_*.c files. */
#include "runner/gate_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/fdpass.h"

#define ACCEPTS_A_TURN 16
/* After this many refusals over a limit a door is closed: the kernel refuses more cheaply than we. */
#define PATIENCE 1000

uint64_t gate_now(const struct gate *g)
{
    return uv_now(g->setup.loop);
}

uint64_t gate_limit(const struct gate *g, enum limit l)
{
    return g->setup.policy->limits[l];
}

/* ---- the account ---- */

static struct egress_entry *entry_of(struct gate *g, const struct gate_event *e)
{
    for (size_t i = 0; i < g->nentries; i++) {
        struct egress_entry *x = &g->entries[i];
        if (x->port == e->port && x->verdict == (int)e->verdict && strcmp(x->name, e->name) == 0)
            return x;
    }
    return NULL;
}

static bool entries_grow(struct gate *g)
{
    size_t room = g->entries_room ? g->entries_room * 2 : 8;
    if (room > RESULT_EGRESS_MAX)
        return false;
    struct egress_entry *entries = realloc(g->entries, room * sizeof *entries);
    if (!entries)
        return false;
    g->entries = entries;
    g->entries_room = room;
    return true;
}

static enum gate_target target_of(const struct gate *g, const struct gate_event *e)
{
    enum gate_target t = TARGET_OTHER;
    for (size_t i = 0; i < g->setup.nrules && t != TARGET_NAMED; i++) {
        const struct egress_rule *r = egress_match(&g->rules[i], 1, e->name, e->port);
        if (r)
            t = r->kind == EGRESS_EXACT ? TARGET_NAMED : TARGET_WILD;
    }
    return t;
}

/* Of what a jail makes up at will only so much is listed, so that it cannot fill the account before it
 * goes where the account should show it. */
static struct egress_entry *entry_add(struct gate *g, const struct gate_event *e)
{
    static const size_t most[GATE_TARGETS] = {
        [TARGET_NAMED] = RESULT_EGRESS_MAX,
        [TARGET_WILD] = RESULT_EGRESS_MAX / 4,
        [TARGET_OTHER] = RESULT_EGRESS_MAX / 2,
    };
    enum gate_target t = target_of(g, e);
    if (g->nentries_of[t] == most[t] || (g->nentries == g->entries_room && !entries_grow(g)))
        return NULL;
    g->nentries_of[t]++;
    struct egress_entry *x = &g->entries[g->nentries++];
    *x = (struct egress_entry){.port = e->port, .verdict = (int)e->verdict};
    snprintf(x->name, sizeof x->name, "%s", e->name);
    return x;
}

void gate_record(struct gate *g, const struct gate_event *e)
{
    struct gate_event event = *e;
    struct egress_entry *x = entry_of(g, e);
    event.first = false;
    if (!x) {
        x = entry_add(g, e);
        event.first = x != NULL;
    }
    if (x) {
        x->count++;
        x->sent += e->sent;
        x->received += e->received;
        snprintf(x->why, sizeof x->why, "%s", e->why);
    } else {
        g->more++;
    }
    g->setup.event(g->setup.arg, &event);
}

static int add_hit(struct result *r, enum limit l, uint64_t peak, uint64_t count)
{
    if (count == 0)
        return 0;
    struct limit_hit *hit = json_list_push(&r->hits, &limit_hit_shape);
    if (!hit)
        return -1;
    *hit = (struct limit_hit){.limit = (int)l, .peak = peak, .count = count};
    return 0;
}

int gate_report(const struct gate *g, struct result *r)
{
    r->conns = g->conns_count;
    r->sent = g->sent;
    r->received = g->received;
    r->dns = g->dns;
    r->egress_more = g->more;
    for (size_t i = 0; i < g->nentries; i++) {
        struct egress_entry *x = json_list_push(&r->egress, &egress_entry_shape);
        if (!x)
            return -ERR_FAIL;
        *x = g->entries[i];
    }
    if (add_hit(r, LIMIT_CONNS, g->conns_count - g->conns_over, g->conns_over) < 0 ||
        add_hit(r, LIMIT_SENT, g->sent, g->sent_over) < 0 ||
        add_hit(r, LIMIT_DNS, g->dns - g->dns_over, g->dns_over) < 0)
        return -ERR_FAIL;
    return 0;
}

/* ---- doors ---- */

void gate_handle_gone(struct gate *g)
{
    if (--g->handles > 0 || !g->closing)
        return;
    void (*closed)(void *arg) = g->setup.closed;
    void *arg = g->setup.arg;
    gate_names_free(g->names);
    gate_own_done(&g->own);
    free(g->entries);
    free(g->rules);
    free(g->scratch);
    free(g);
    closed(arg);
}

static void on_door_closed(uv_handle_t *h)
{
    struct gate_listener *l = h->data;
    gate_handle_gone(l->gate);
}

void gate_door_close(struct gate_listener *l)
{
    if (l->fd < 0)
        return;
    uv_close((uv_handle_t *)&l->poll, on_door_closed);
    fd_close(&l->fd);
}

/* Over a limit: still answered for a while, so that clients are told why. */
static bool impatient(struct gate *g, struct gate_listener *l)
{
    bool dns = l->door == DOOR_DNS_UDP || l->door == DOOR_DNS_TCP;
    if ((dns ? g->dns_over : g->conns_over) < PATIENCE)
        return false;
    gate_door_close(l);
    return true;
}

static void on_door(uv_poll_t *p, int status, int events);

/* Its connections are not the gate's: neither counted nor bounded here. */
static bool handed_on(const struct gate_listener *l)
{
    return l->door == DOOR_BROKER && l->gate->setup.call;
}

static void doors_watch(struct gate *g, bool open)
{
    for (size_t i = 0; i < g->ndoors; i++) {
        struct gate_listener *l = &g->doors[i];
        if (l->fd < 0 || l->door == DOOR_DNS_UDP)
            continue;
        if (open || handed_on(l))
            uv_poll_start(&l->poll, UV_READABLE, on_door);
        else
            uv_poll_stop(&l->poll);
    }
}

void gate_rearm(struct gate *g)
{
    if (!g->closing && g->nconns + 1 == g->conns_max)
        doors_watch(g, true);
}

static void on_tick(uv_timer_t *t)
{
    struct gate *g = t->data;
    uint64_t now = gate_now(g);
    for (struct gate_conn *c = g->conns, *next; c; c = next) {
        next = c->next;
        if (now >= c->deadline)
            gate_conn_late(c);
    }
    doors_watch(g, g->nconns < g->conns_max); /* again after descriptors ran out, too */
    if (g->nconns == 0) {
        uv_timer_stop(&g->tick);
        g->ticking = false;
    }
}

static void tick_start(struct gate *g)
{
    if (!g->ticking)
        uv_timer_start(&g->tick, on_tick, GATE_TICK_MS, GATE_TICK_MS);
    g->ticking = true;
}

/* Those who come now wait in the doors' backlogs: that is told once. */
static void doors_full(struct gate *g)
{
    char why[GATE_WHY_SIZE];
    doors_watch(g, false);
    if (g->full_told)
        return;
    g->full_told = true;
    snprintf(why, sizeof why, "%u connections are open; more wait until one ends", g->conns_max);
    gate_record(g, &(struct gate_event){
                       .verdict = EGRESS_LIMITED, .name = "(connections at once)", .why = why});
}

/* False: nobody more is there, or nobody more can be taken now. */
static bool take_one(struct gate_listener *l)
{
    struct gate *g = l->gate;
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        bool later = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        if (later) {
            doors_watch(g, false);
            uv_poll_stop(&l->poll);
            tick_start(g);
        }
        return !later && errno != EAGAIN;
    }
    if (handed_on(l)) {
        g->setup.call(g->setup.arg, fd);
        return true;
    }
    tick_start(g);
    return gate_conn_new(l, fd) == 0;
}

static void on_door(uv_poll_t *p, int status, int events)
{
    struct gate_listener *l = p->data;
    if (handed_on(l)) {
        for (int i = 0; i < ACCEPTS_A_TURN && take_one(l); i++)
            ;
        return;
    }
    if (impatient(l->gate, l))
        return;
    if (l->door == DOOR_DNS_UDP) {
        gate_dns_udp(l);
        return;
    }
    if (l->gate->nconns >= l->gate->conns_max) {
        doors_full(l->gate);
        return;
    }
    for (int i = 0; i < ACCEPTS_A_TURN && l->gate->nconns < l->gate->conns_max && take_one(l); i++)
        ;
}

/* ---- life ---- */

static enum gate_door door_of(size_t i)
{
    switch (i) {
    case GATE_DNS_UDP:
        return DOOR_DNS_UDP;
    case GATE_DNS_TCP:
        return DOOR_DNS_TCP;
    case GATE_PROXY:
        return DOOR_PROXY;
    case GATE_BROKER:
        return DOOR_BROKER;
    default:
        return DOOR_PORT;
    }
}

/* A door that cannot be watched is closed at once; gate_close() does the rest. */
static int doors_open(struct gate *g, const int *fds, size_t nfds)
{
    int rc = 0;
    for (size_t i = 0; i < nfds; i++) {
        struct gate_listener *l = &g->doors[g->ndoors];
        *l = (struct gate_listener){.gate = g, .door = door_of(i), .fd = fds[i]};
        if (rc < 0 || uv_poll_init(g->setup.loop, &l->poll, fds[i]) < 0) {
            fd_close(&l->fd);
            rc = -1;
            continue;
        }
        l->poll.data = l;
        g->handles++;
        g->ndoors++;
        uv_poll_start(&l->poll, UV_READABLE, on_door);
    }
    return rc;
}

static struct gate *gate_new(const struct gate_setup *setup)
{
    struct gate *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->setup = *setup;
    g->conns_end = &g->conns;
    g->conns_max = setup->host->conns_max && setup->host->conns_max < GATE_CONNS_MAX
                       ? setup->host->conns_max
                       : GATE_CONNS_MAX;
    g->rules = calloc(setup->nrules ? setup->nrules : 1, sizeof *g->rules);
    g->names = gate_names_new();
    g->scratch = malloc(GATE_CHUNK);
    if (!g->rules || !g->names || !g->scratch) {
        free(g->rules);
        gate_names_free(g->names);
        free(g->scratch);
        free(g);
        return NULL;
    }
    if (setup->nrules)
        memcpy(g->rules, setup->rules, setup->nrules * sizeof *g->rules);
    g->setup.rules = g->rules;
    return g;
}

static void nothing_closed(void *arg)
{
}

int gate_open(const struct gate_setup *setup, const int *fds, size_t nfds, struct gate **ret,
              struct err *err)
{
    struct gate *g = nfds > GATE_PORTS && nfds <= GATE_SOCKETS_MAX ? gate_new(setup) : NULL;
    *ret = NULL;
    if (!g) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return err_set(err, ERR_FAIL, "the egress gate cannot be made of %zu sockets", nfds);
    }
    uv_timer_init(setup->loop, &g->tick);
    g->tick.data = g;
    g->handles = 1;
    if (doors_open(g, fds, nfds) < 0) {
        g->setup.closed = nothing_closed;
        gate_close(g);
        return err_set(err, ERR_FAIL, "the egress gate's sockets cannot be watched");
    }
    *ret = g;
    return 0;
}

static void on_tick_closed(uv_handle_t *h)
{
    gate_handle_gone(h->data);
}

void gate_close(struct gate *g)
{
    if (g->closing)
        return;
    g->closing = true;
    while (g->conns)
        gate_conn_end(g->conns);
    gate_lookups_abandon(g);
    for (size_t i = 0; i < g->ndoors; i++)
        gate_door_close(&g->doors[i]);
    uv_close((uv_handle_t *)&g->tick, on_tick_closed);
}
