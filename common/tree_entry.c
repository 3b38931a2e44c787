/* What may stand in a git tree: see the header. Follows git's own fsck and verify_path rules, and
 * refuses where git only warns. Never touches a file. */
#include "common/tree_entry.h"

#include <string.h>

struct tree_mode {
    uint32_t mode;
    enum tree_kind kind;
};

static const struct tree_mode modes[] = {
    {0100644, TREE_FILE}, {0100755, TREE_EXEC},    {0100664, TREE_FILE},
    {0120000, TREE_LINK}, {0160000, TREE_GITLINK}, {0040000, TREE_DIR},
};

/* Bytes of an UTF-8 code point that HFS+ ignores in names, or 0. */
static size_t hfs_ignored(const uint8_t *s, size_t len)
{
    if (len < 3) {
        return 0;
    }
    if (s[0] == 0xef && s[1] == 0xbb && s[2] == 0xbf) {
        return 3; /* U+FEFF */
    }
    if (s[0] != 0xe2) {
        return 0;
    }
    bool joiner = s[1] == 0x80 && s[2] >= 0x8c && s[2] <= 0x8f;    /* U+200C .. U+200F */
    bool embedding = s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae; /* U+202A .. U+202E */
    bool shaping = s[1] == 0x81 && s[2] >= 0xaa && s[2] <= 0xaf;   /* U+206A .. U+206F */
    return joiner || embedding || shaping ? 3 : 0;
}

/* Lower-cases ASCII and leaves out what HFS+ ignores. `out` holds TREE_NAME_MAX bytes. */
static size_t name_fold(const char *name, size_t len, char out[static TREE_NAME_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < TREE_NAME_MAX;) {
        size_t skip = hfs_ignored((const uint8_t *)name + i, len - i);
        if (skip > 0) {
            i += skip;
            continue;
        }
        char c = name[i++];
        out[n++] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return n;
}

/* NTFS: the rest of a name after ".git" or "git~1" that it drops or reads as a stream. */
static bool ntfs_tail(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == ':') {
            return true;
        }
        if (s[i] != '.' && s[i] != ' ') {
            return false;
        }
    }
    return true;
}

static bool part_is_dotgit(const char *s, size_t len)
{
    return (len >= 4 && memcmp(s, ".git", 4) == 0 && ntfs_tail(s + 4, len - 4)) ||
           (len >= 5 && memcmp(s, "git~1", 5) == 0 && ntfs_tail(s + 5, len - 5));
}

bool tree_name_is_dotgit(const char *name, size_t len)
{
    char folded[TREE_NAME_MAX];
    size_t n = name_fold(name, len, folded);
    size_t from = 0;
    for (size_t i = 0; i <= n; i++) { /* a backslash separates directories on Windows */
        if (i == n || folded[i] == '\\') {
            if (part_is_dotgit(folded + from, i - from)) {
                return true;
            }
            from = i + 1;
        }
    }
    return false;
}

const char *tree_name_fault(const char *name, size_t len)
{
    if (len == 0) {
        return "empty name";
    }
    if (len > TREE_NAME_MAX) {
        return "name longer than 255 bytes";
    }
    if (memchr(name, '/', len) != NULL || memchr(name, '\0', len) != NULL) {
        return "name holds a slash or NUL";
    }
    if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.')) {
        return "name leads out of its directory";
    }
    if (tree_name_is_dotgit(name, len)) {
        return "name that some file system takes for .git";
    }
    return NULL;
}

int tree_name_order(const char *a, size_t alen, bool adir, const char *b, size_t blen, bool bdir)
{
    size_t n = alen < blen ? alen : blen;
    int c = memcmp(a, b, n);
    if (c != 0) {
        return c;
    }
    unsigned ca = alen > n ? (uint8_t)a[n] : adir ? '/' : 0;
    unsigned cb = blen > n ? (uint8_t)b[n] : bdir ? '/' : 0;
    return (int)ca - (int)cb;
}

void tree_reader_init(struct tree_reader *r, const void *bytes, size_t len)
{
    *r = (struct tree_reader){.start = bytes, .at = bytes};
    r->end = r->at + len;
}

/* "MODE " in octal; at most one leading zero (old writers padded directories' modes). */
static int read_mode(struct tree_reader *r, struct tree_entry *e)
{
    uint32_t mode = 0;
    size_t digits = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '7' && digits < 7) {
        mode = mode * 8 + (uint32_t)(*r->at++ - '0');
        digits++;
    }
    if (digits == 0 || r->at == r->end || *r->at != ' ') {
        return -1;
    }
    r->at++;
    e->mode = mode;
    return 0;
}

/* Sets the kind; false for a mode that is not in the table. */
static bool mode_known(struct tree_entry *e)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (modes[i].mode == e->mode) {
            e->kind = modes[i].kind;
            return true;
        }
    }
    return false;
}

/* "a" the file and "a" the directory need not be neighbours: names such as "a.b" sort between. */
static bool seen_as_file(const struct tree_reader *r, const struct tree_entry *dir)
{
    struct tree_reader again;
    struct tree_entry e;
    tree_reader_init(&again, r->start, (size_t)((const uint8_t *)dir->name - r->start));
    const uint8_t *at = again.start;
    while (at < again.end) {
        const uint8_t *space = memchr(at, ' ', (size_t)(again.end - at));
        if (space == NULL) {
            return false;
        }
        const uint8_t *nul = memchr(space, 0, (size_t)(again.end - space));
        if (nul == NULL) {
            return false;
        }
        e.name = (const char *)space + 1;
        e.name_len = (size_t)(nul - space - 1);
        if (e.name_len == dir->name_len && memcmp(e.name, dir->name, e.name_len) == 0) {
            return true;
        }
        at = nul + 1 + TREE_OID_BYTES;
    }
    return false;
}

static int check_order(const struct tree_reader *r, const struct tree_entry *e, struct err *err)
{
    const struct tree_entry *p = &r->prev;
    if (p->name == NULL) {
        return 0;
    }
    bool dir = e->kind == TREE_DIR;
    int order =
        tree_name_order(p->name, p->name_len, p->kind == TREE_DIR, e->name, e->name_len, dir);
    /* Only a name that starts with this one can stand between its file and its directory. */
    bool prefix = p->name_len >= e->name_len && memcmp(p->name, e->name, e->name_len) == 0;
    if (order < 0 && !(dir && prefix && seen_as_file(r, e))) {
        return 0;
    }
    return err_set(err, ERR_REFUSED, "\"%.200s\": %s", e->name,
                   order > 0 ? "out of order in its tree" : "twice in one tree");
}

int tree_read(struct tree_reader *r, struct tree_entry *ret, struct err *err)
{
    if (r->at == r->end) {
        return 0;
    }
    struct tree_entry e = {0};
    if (read_mode(r, &e) < 0) {
        return err_set(err, ERR_REFUSED, "malformed tree");
    }
    const uint8_t *nul = memchr(r->at, 0, (size_t)(r->end - r->at));
    if (nul == NULL || r->end - nul - 1 < TREE_OID_BYTES) {
        return err_set(err, ERR_REFUSED, "malformed tree");
    }
    e.name = (const char *)r->at;
    e.name_len = (size_t)(nul - r->at);
    e.oid = nul + 1;
    if (!mode_known(&e)) {
        return err_set(err, ERR_REFUSED, "\"%.200s\": mode %06o is not one that a tree may hold",
                       e.name, (unsigned)e.mode);
    }
    const char *fault = tree_name_fault(e.name, e.name_len);
    if (fault != NULL) {
        return err_set(err, ERR_REFUSED, "\"%.200s\": %s", e.name, fault);
    }
    int rc = check_order(r, &e, err);
    if (rc < 0) {
        return rc;
    }
    r->at = nul + 1 + TREE_OID_BYTES;
    r->prev = e;
    *ret = e;
    return 1;
}
