/* The memory that a cell's orders are in; see cell_order.h. */
#include "runner/cell_order.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>
#include <sodium.h>

#include "common/file.h"
#include "proto/dsse.h"

/* The strings come out of one envelope, so they are shorter than it; memory is used page by page. */
#define CELL_ORDER_BYTES (sizeof(struct cell_order) + DSSE_BYTES_MAX)

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

int cell_order_page_new(struct cell_order_page *out, struct err *err)
{
    struct cell_order_page p = {.fd = memfd_create("order", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    void *at = MAP_FAILED;
    if (p.fd >= 0 && ftruncate(p.fd, CELL_ORDER_BYTES) == 0)
        at = mmap(NULL, CELL_ORDER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0);
    if (at == MAP_FAILED || madvise(at, CELL_ORDER_BYTES, MADV_DONTFORK) < 0 ||
        madvise(at, CELL_ORDER_BYTES, MADV_DONTDUMP) < 0 ||
        fcntl(p.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
            0) {
        int rc = err_errno(err, ERR_FAIL, "no memory for an attempt's orders");
        if (at != MAP_FAILED)
            munmap(at, CELL_ORDER_BYTES);
        fd_close(&p.fd);
        return rc;
    }
    p.order = at;
    *out = p;
    return 0;
}

static size_t append(struct cell_order *o, size_t at, const struct strv *list, uint32_t *ret_n)
{
    for (size_t i = 0; i < list->n; i++) {
        size_t n = strlen(list->v[i]) + 1;
        if (n > DSSE_BYTES_MAX - at)
            return SIZE_MAX;
        memcpy(o->text + at, list->v[i], n);
        at += n;
    }
    *ret_n = (uint32_t)list->n;
    return at;
}

/* A file is two strings: its path, and its lines with a newline after each. */
static size_t append_files(struct cell_order *o, size_t at, const struct json_list *files)
{
    const struct task_file *f = files->items;
    for (size_t i = 0; i < files->n && at != SIZE_MAX; i++) {
        size_t n = strlen(f[i].path) + 1;
        if (n > DSSE_BYTES_MAX - at)
            return SIZE_MAX;
        memcpy(o->text + at, f[i].path, n);
        at += n;
        for (size_t k = 0; k < f[i].lines.n; k++) {
            n = strlen(f[i].lines.v[k]);
            if (n + 1 > DSSE_BYTES_MAX - at)
                return SIZE_MAX;
            memcpy(o->text + at, f[i].lines.v[k], n);
            at += n;
            o->text[at++] = '\n';
        }
        if (at == DSSE_BYTES_MAX)
            return SIZE_MAX;
        o->text[at++] = 0;
    }
    o->nfiles = (uint32_t)files->n;
    return at;
}

static int write_ports(struct cell_order *o, const struct policy *policy, struct err *err)
{
    static const uint16_t always[] = {80, 443};
    struct egress_rule *rules = NULL;
    size_t n = 0;
    int rc = 0;
    memcpy(o->ports, always, sizeof always);
    o->nports = 2;
    if (policy->egress.n == 0)
        return 0;
    rules = calloc(EGRESS_RULES_MAX, sizeof *rules);
    rc = rules ? egress_parse_all(&policy->egress, rules, &n, err)
               : err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0)
        o->nports = (uint32_t)egress_ports(rules, n, o->ports);
    free(rules);
    return rc;
}

int cell_order_write(const struct cell_order_page *p, const struct task *task,
                     const uint8_t token[static TASK_TOKEN_BYTES], struct err *err)
{
    struct cell_order *o = p->order;
    const struct strv *lists[] = {&task->setup, &task->command, &task->tests, &task->env};
    uint32_t *counts[] = {&o->nsetup, &o->ncommand, &o->ntests, &o->nenv};
    size_t at = 0;
    memcpy(o->limits, task->policy.limits, sizeof o->limits);
    memcpy(o->id, task->id, sizeof o->id);
    memcpy(o->root, task->root, sizeof o->root);
    memcpy(o->branch, task->branch, sizeof o->branch);
    memcpy(o->token, token, sizeof o->token);
    for (size_t i = 0; i < sizeof lists / sizeof *lists && at != SIZE_MAX; i++)
        at = lists[i]->n <= CELL_ORDER_ARGS_MAX ? append(o, at, lists[i], counts[i]) : SIZE_MAX;
    if (at != SIZE_MAX)
        at = append_files(o, at, &task->files);
    if (at == SIZE_MAX)
        return err_set(err, ERR_REFUSED, "the task's commands and files are too long");
    return write_ports(o, &task->policy, err);
}

void cell_order_page_done(struct cell_order_page *p)
{
    if (p->order) {
        /* What was written lies at the front; the rest was never touched, and shall not be now. */
        size_t used = offsetof(struct cell_order, text);
        uint32_t n = p->order->nsetup + p->order->ncommand + p->order->ntests + p->order->nenv +
                     2 * p->order->nfiles;
        while (n-- > 0)
            used += strlen((char *)p->order + used) + 1;
        sodium_memzero(p->order, used);
        munmap(p->order, CELL_ORDER_BYTES);
    }
    fd_close(&p->fd);
    *p = CELL_ORDER_PAGE_NONE;
}

const struct cell_order *cell_order_map(int fd, struct err *err)
{
    void *at = mmap(NULL, CELL_ORDER_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        err_errno(err, ERR_FAIL, "the attempt's orders cannot be mapped");
        return NULL;
    }
    return at;
}

void cell_order_strings(const struct cell_order *o, uint32_t from, uint32_t n,
                        char *out[static CELL_ORDER_ARGS_MAX + 1])
{
    const char *at = o->text;
    for (; from > 0; from--)
        at += strlen(at) + 1;
    for (uint32_t i = 0; i < n; i++, at += strlen(at) + 1)
        out[i] = (char *)(uintptr_t)at;
    out[n] = NULL;
}
