/* Options, by a table of rows. Never prints and never exits: what is wrong comes back as one line,
 * and help is text in a buffer. */
#include "common/opts.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX       64
#define NAME_MAX_BYTES 32 /* of option names, for the edit distance */

struct parse {
    const struct opt *table;
    char *out;
    uint64_t seen; /* bit a row: given on the command line */
    int argc, at;  /* the argument being looked at */
    char **argv;
};

static size_t rows(const struct opt *table)
{
    size_t n = 0;
    while (table[n].name)
        n++;
    return n;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance; names beyond the bound count as far away. */
static size_t distance(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b), row[NAME_MAX_BYTES + 1];
    if (na > NAME_MAX_BYTES || nb > NAME_MAX_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j];
            row[j] = smaller(smaller(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[nb];
}

static int unknown(const struct parse *p, const char *name, size_t len, struct err *err)
{
    const char *best = NULL;
    size_t least = len / 3 + 2;
    for (size_t i = 0; p->table[i].name; i++) {
        size_t d = distance(name, len, p->table[i].name);
        if (d < least) {
            least = d;
            best = p->table[i].name;
        }
    }
    int shown = len > 64 ? 64 : (int)len;
    if (best)
        return err_set(err, ERR_USAGE, "unknown option --%.*s; did you mean --%s?", shown, name,
                       best);
    return err_set(err, ERR_USAGE, "unknown option --%.*s; see --help", shown, name);
}

/* A whole decimal number within `unsigned`. */
static bool uint_read(const char *text, unsigned *ret)
{
    uint64_t v = 0;
    if (!*text || strlen(text) > 10)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        v = v * 10 + (uint64_t)(*text - '0');
    }
    if (v > UINT_MAX)
        return false;
    *ret = (unsigned)v;
    return true;
}

/* Stores a value; `from` is how messages name its origin ("--slots", "CREEL_SLOTS"). */
static int store(const struct opt *o, void *member, const char *value, const char *from,
                 struct err *err)
{
    switch (o->kind) {
    case OPT_TEXT:
        *(const char **)member = value;
        return 0;
    case OPT_MANY:
        if (strv_add(member, value) != 0)
            return err_set(err, ERR_FAIL, "out of memory");
        return 0;
    case OPT_UINT:
        if (!uint_read(value, member))
            return err_set(err, ERR_USAGE, "%s: \"%.64s\" is not a whole number", from, value);
        return 0;
    case OPT_COUNT:
        if (!uint_read(value, member) || *(unsigned *)member == 0)
            return err_set(err, ERR_USAGE, "%s: \"%.64s\" is not a whole number above 0", from,
                           value);
        return 0;
    case OPT_FLAG:
        break;
    }
    return err_set(err, ERR_USAGE, "%s takes no value", from);
}

static bool among(const char *value, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(value, *words) == 0)
            return true;
    return false;
}

static int flag_from_env(const struct opt *o, bool *member, const char *value, struct err *err)
{
    static const char *const on[] = {"1", "true", "yes", "on", NULL};
    static const char *const off[] = {"0", "false", "no", "off", NULL};
    if (!among(value, on) && !among(value, off))
        return err_set(err, ERR_USAGE, "environment variable %s: \"%.64s\" is neither 1 nor 0",
                       o->env, value);
    *member = among(value, on);
    return 0;
}

/* Options that the command line did not give take their variable's value, when it has one. */
static int defaults(const struct parse *p, struct err *err)
{
    int r = 0;
    for (size_t i = 0; p->table[i].name && r == 0; i++) {
        const struct opt *o = &p->table[i];
        const char *value = o->env && !(p->seen >> i & 1) ? getenv(o->env) : NULL;
        if (!value || !*value)
            continue;
        void *member = p->out + o->offset;
        if (o->kind == OPT_FLAG)
            r = flag_from_env(o, member, value, err);
        else
            r = store(o, member, value, o->env, err);
    }
    return r;
}

/* Row `i` was given; `value` is what followed '=', or NULL. */
static int given(struct parse *p, size_t i, const char *value, const char *shown, struct err *err)
{
    const struct opt *o = &p->table[i];
    void *member = p->out + o->offset;
    bool again = p->seen >> i & 1;
    p->seen |= 1ull << i;
    if (o->kind == OPT_FLAG) {
        if (value)
            return err_set(err, ERR_USAGE, "%s takes no value", shown);
        *(bool *)member = true;
        return 0;
    }
    if (again && o->kind != OPT_MANY)
        return err_set(err, ERR_USAGE, "%s is given twice", shown);
    if (!value) {
        if (p->at + 1 >= p->argc)
            return err_set(err, ERR_USAGE, "%s needs a value: %s %s", shown, shown,
                           o->arg ? o->arg : "VALUE");
        value = p->argv[++p->at];
    }
    return store(o, member, value, shown, err);
}

static int long_option(struct parse *p, const char *name, bool *ret_help, struct err *err)
{
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    char shown[NAME_MAX_BYTES + 4];

    for (size_t i = 0; p->table[i].name; i++) {
        const struct opt *o = &p->table[i];
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) {
            shown[0] = shown[1] = '-';
            memccpy(shown + 2, o->name, '\0', sizeof(shown) - 3);
            shown[sizeof(shown) - 1] = '\0';
            return given(p, i, value, shown, err);
        }
    }
    if (len == 4 && memcmp(name, "help", 4) == 0 && !value) {
        *ret_help = true;
        return 0;
    }
    /* --no-NAME undoes what the environment has switched on. */
    for (size_t i = 0; p->table[i].name && len > 3 && memcmp(name, "no-", 3) == 0 && !value; i++) {
        const struct opt *o = &p->table[i];
        if (o->kind == OPT_FLAG && o->env && strlen(o->name) == len - 3 &&
            memcmp(o->name, name + 3, len - 3) == 0) {
            p->seen |= 1ull << i;
            *(bool *)(p->out + o->offset) = false;
            return 0;
        }
    }
    return unknown(p, name, len, err);
}

static int short_option(struct parse *p, const char *arg, bool *ret_help, struct err *err)
{
    for (size_t i = 0; p->table[i].name; i++)
        if (p->table[i].letter && arg[1] == p->table[i].letter && !arg[2])
            return given(p, i, NULL, (char[]){'-', arg[1], '\0'}, err);
    if (strcmp(arg, "-h") == 0) {
        *ret_help = true;
        return 0;
    }
    return err_set(err, ERR_USAGE, "unknown option %.64s; see --help", arg);
}

int opts_parse(const struct opt *table, int argc, char **argv, void *out, bool stop_at_first,
               char **rest, size_t *ret_nrest, bool *ret_help, struct err *err)
{
    struct parse p = {.table = table, .out = out, .argc = argc, .argv = argv, .at = 1};
    size_t nrest = 0;
    bool help = false, options = true;
    int r = 0;

    if (rows(table) > ROWS_MAX)
        return err_set(err, ERR_FAIL, "option table is over %d rows", ROWS_MAX);
    for (; p.at < argc && r == 0; p.at++) {
        char *arg = argv[p.at];
        if (!options || arg[0] != '-' || !arg[1]) {
            options = options && !stop_at_first;
            rest[nrest++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            options = false;
        } else if (arg[1] == '-') {
            r = long_option(&p, arg + 2, &help, err);
        } else {
            r = short_option(&p, arg, &help, err);
        }
    }
    if (r == 0 && !help)
        r = defaults(&p, err);
    if (r != 0)
        return r;
    rest[nrest] = NULL;
    *ret_nrest = nrest;
    *ret_help = help;
    return 0;
}

/* "-f, --follow" or "    --limit LIST" */
static int help_head(const struct opt *o, struct buf *to)
{
    int r = o->letter ? buf_addf(to, "-%c, --%s", o->letter, o->name)
                      : buf_addf(to, "    --%s", o->name);
    if (r == 0 && o->kind != OPT_FLAG)
        r = buf_addf(to, " %s", o->arg ? o->arg : "VALUE");
    return r;
}

static int help_row(const struct opt *o, size_t width, struct buf *to)
{
    size_t start = to->len;
    int r = buf_adds(to, "  ");
    if (r == 0)
        r = help_head(o, to);
    size_t used = to->len - start;
    if (r == 0)
        r = buf_addf(to, "%*s%s", (int)(width + 4 - used), "", o->help);
    if (r == 0 && o->env)
        r = buf_addf(to, " [%s]", o->env);
    return r == 0 ? buf_addc(to, '\n') : r;
}

int opts_help(const struct opt *table, struct buf *to)
{
    static const struct opt help = {
        .name = "help", .letter = 'h', .kind = OPT_FLAG, .help = "show this"};
    struct buf head;
    size_t width = 0;
    int r = 0;
    struct opt help_row_of = help;

    buf_init(&head, 256);
    for (size_t i = 0; i <= rows(table) && r == 0; i++) {
        buf_clear(&head);
        r = help_head(table[i].name ? &table[i] : &help, &head);
        if (head.len > width)
            width = head.len;
        if (table[i].name && table[i].letter == 'h')
            help_row_of.letter = 0;
    }
    buf_done(&head);
    for (size_t i = 0; table[i].name && r == 0; i++)
        r = help_row(&table[i], width, to);
    return r == 0 ? help_row(&help_row_of, width, to) : r;
}
