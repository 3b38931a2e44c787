/* Two small files and what they looked like when they were read. */
#include "controller/broker/books.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/file.h"

struct stamp {
    bool there;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct books {
    int dirfd;
    bool looked;
    struct stamp stamps[2];
    struct providers providers;
    struct prices *prices;
    struct err bad;
};

struct books *books_new(int dirfd)
{
    struct books *b = calloc(1, sizeof *b);
    if (b)
        b->dirfd = dirfd;
    return b;
}

static void clear(struct books *b)
{
    providers_done(&b->providers);
    prices_free(b->prices);
    b->prices = NULL;
}

void books_free(struct books *b)
{
    if (!b)
        return;
    clear(b);
    free(b);
}

static struct stamp stamp_of(int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return (struct stamp){0};
    return (struct stamp){true, st.st_dev, st.st_ino, st.st_size, st.st_ctim};
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->there == b->there && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static int load_prices(struct books *b, struct err *err)
{
    struct buf text;
    buf_init(&text, PRICES_BYTES_MAX + 1);
    int rc = file_read(b->dirfd, "prices.json", &text, err);
    if (rc == 0)
        rc = prices_parse(text.data, text.len, "prices.json", &b->prices, err);
    buf_done(&text);
    return rc;
}

static int load(struct books *b, struct err *err)
{
    clear(b);
    int rc = providers_load(b->dirfd, &b->providers, err);
    if (rc == 0 && b->stamps[1].there)
        rc = load_prices(b, err);
    if (rc < 0)
        clear(b);
    return rc;
}

int books_look(struct books *b, struct err *err)
{
    struct stamp now[2] = {stamp_of(b->dirfd, "providers.json"), stamp_of(b->dirfd, "prices.json")};
    if (!b->looked || !same(&now[0], &b->stamps[0]) || !same(&now[1], &b->stamps[1])) {
        b->looked = true;
        b->stamps[0] = now[0];
        b->stamps[1] = now[1];
        b->bad = ERR_INIT;
        load(b, &b->bad);
    }
    if (!b->bad.code)
        return 0;
    *err = b->bad;
    return -(int)err->code;
}

const struct providers *books_providers(const struct books *b)
{
    return &b->providers;
}

const struct prices *books_prices(const struct books *b)
{
    return b->prices;
}
