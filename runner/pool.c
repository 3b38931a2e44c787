/* Spare cells; see pool.h. A spare is a slot's cell while the slot is free. */
#include "runner/pool.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/images.h"

/* A file of the host that every spare has bound and that package managers replace: with another one,
 * programs of the host would not find their libraries in the spare. */
#define HOST_LIBRARIES "/etc/ld.so.cache"

static struct cell_setup setup_of(struct warden *w, const struct slot *slot,
                                  const struct task *task, const uint8_t *token)
{
    return (struct cell_setup){
        .task = task,
        .kind = {.nested = task->policy.nested_userns,
                 .repo_token = task->policy.repo.mode == REPO_TOKEN,
                 .tools = w->setup->tools},
        .token = token,
        .filter = &w->filter,
        .cgroups = &w->cgroups,
        .disks = &w->disks,
        .tool = w->setup->tool,
        .slot = (unsigned)(slot - w->slots),
        .slots = w->setup->slots,
        .rooted = w->rooted,
    };
}

static struct host_libraries host_libraries(void)
{
    struct stat st = {0};
    if (stat(HOST_LIBRARIES, &st) < 0)
        return (struct host_libraries){0};
    return (struct host_libraries){.device = st.st_dev, .inode = st.st_ino, .changed = st.st_ctim};
}

static bool same_libraries(const struct host_libraries *a, const struct host_libraries *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

bool pool_spare(const struct slot *slot)
{
    return slot->state == SLOT_FREE && slot->cell.pid > 0;
}

struct slot *pool_wants(struct warden *w)
{
    if (w->unusable.code != ERR_NONE)
        return NULL;
    for (size_t i = 0; i < w->setup->slots; i++) {
        struct slot *slot = &w->slots[i];
        if (slot->state == SLOT_FREE && !pool_spare(slot) && !slot->no_spare)
            return slot;
    }
    return NULL;
}

void pool_fill(struct warden *w, struct slot *slot)
{
    struct err ignored = ERR_INIT;
    struct cell_setup setup = setup_of(w, slot, &w->no_task, NULL);
    slot->libraries = host_libraries();
    if (cell_make(&setup, &slot->cell, &ignored) < 0) {
        slot->no_spare = true;
        return;
    }
    cell_prepare(&slot->cell, WARDEN_CHECKOUT);
    cell_prepare(&slot->cell, WARDEN_RUN);
}

void pool_drop(struct slot *slot)
{
    if (pool_spare(slot))
        cell_close(&slot->cell);
}

void pool_heard(struct slot *slot)
{
    struct err ignored = ERR_INIT;
    /* Once it is ready it says nothing before it has a task: then this is its death. */
    if (slot->cell.ready || cell_ready(&slot->cell, &ignored) < 0) {
        pool_drop(slot);
        slot->no_spare = true;
    }
}

/* The caches that a policy names, which no other attempt's may push out while it runs. */
static int take_caches(struct warden *w, struct slot *slot, const struct policy *policy,
                       char cache[static CACHES_PATH_MAX], char keep[static CACHES_PATH_MAX],
                       struct jail_kind *kind, struct err *err)
{
    const char *used[RUNNER_SLOTS_MAX];
    int rc = 0;
    slot->cache[0] = 0;
    slot->keeps = false;
    if (policy->cache[0]) {
        rc = caches_find(&w->caches, policy->cache, cache, err);
        kind->cache = cache;
        memcpy(slot->cache, policy->cache, sizeof slot->cache);
    }
    for (size_t i = 0; i < w->setup->slots; i++)
        used[i] = w->slots[i].cache;
    if (rc == 0 && policy->cache_keep) {
        rc = caches_begin(&w->caches, (unsigned)(slot - w->slots), w->rooted ? JAIL_UID : geteuid(),
                          used, w->setup->slots, keep, err);
        kind->keep = keep;
        slot->keeps = rc == 0;
    }
    return rc;
}

/* A spare holds what a task may need that fits no spare: room for a disk most of all. */
static bool drop_all(struct warden *w)
{
    bool any = false;
    for (size_t i = 0; i < w->setup->slots; i++) {
        any = any || pool_spare(&w->slots[i]);
        pool_drop(&w->slots[i]);
    }
    return any;
}

static int open_new(struct warden *w, struct slot *slot, const struct cell_setup *wanted,
                    int *ret_pack, struct err *err)
{
    struct err first = ERR_INIT;
    int rc = cell_open(wanted, &slot->cell, ret_pack, &first);
    if (rc < 0 && drop_all(w))
        return cell_open(wanted, &slot->cell, ret_pack, err);
    if (rc < 0)
        *err = first;
    return rc;
}

int pool_open(struct warden *w, struct slot *slot, const struct task *task, const uint8_t *token,
              int *ret_pack, struct err *err)
{
    struct cell_setup made = setup_of(w, slot, &w->no_task, NULL);
    struct cell_setup wanted = setup_of(w, slot, task, token);
    struct host_libraries now = host_libraries();
    struct err ignored = ERR_INIT;
    char image[IMAGES_PATH_MAX], cache[CACHES_PATH_MAX], keep[CACHES_PATH_MAX];
    slot->no_spare = false;
    if (task->policy.image[0]) {
        int rc = images_find(w->setup->images, task->policy.image, image, err);
        if (rc < 0)
            return rc;
        wanted.kind.image = image;
    }
    int rc = take_caches(w, slot, &task->policy, cache, keep, &wanted.kind, err);
    if (rc < 0)
        return rc;
    if (pool_spare(slot) && cell_fits(&made, &wanted) && same_libraries(&now, &slot->libraries) &&
        cell_bind(&slot->cell, task, token, ret_pack, &ignored) == 0)
        return 0;
    pool_drop(slot);
    rc = open_new(w, slot, &wanted, ret_pack, err);
    if (rc < 0 && slot->keeps)
        caches_abort(&w->caches, (unsigned)(slot - w->slots));
    slot->keeps = slot->keeps && rc == 0;
    return rc;
}
