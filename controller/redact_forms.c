/* The forms that a secret takes in texts, cut into needles. Pure, but for locked memory to write each form
 * in, which is wiped when it goes.
 *
 * A program that prints a secret seldom prints it bare: it stands in JSON, in a URL, in a Basic header, in
 * a dump. What cannot be foreseen (a cipher, a character a line) is not found, and is not claimed. */
#include <string.h>

#include "common/secret.h"
#include "controller/redact_internal.h"

#define WORST_GROWTH 6 /* a control byte in JSON: \u0001 */

const char *const needle_form_names[NEEDLE_FORM_COUNT + 1] = {"raw",    "JSON", "URI",
                                                              "base64", "hex",  NULL};

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct walk {
    uint8_t *scratch; /* WORST_GROWTH bytes for each of the value's */
    size_t n;         /* of them in use */
    needle_form_cb *cb;
    void *arg;
};

/* One form whole, or in pieces of NEEDLE_MAX; the last one overlaps, so that it is no shorter. */
static int give(struct walk *w, enum needle_form form, const uint8_t *bytes, size_t n,
                struct err *err)
{
    int rc = 0;
    if (n < NEEDLE_WINDOW)
        return 0;
    if (n <= NEEDLE_MAX)
        return w->cb(w->arg, form, bytes, n, err);
    for (size_t at = 0; rc == 0 && at + NEEDLE_MAX <= n; at += NEEDLE_MAX)
        rc = w->cb(w->arg, form, bytes + at, NEEDLE_MAX, err);
    if (rc == 0 && n % NEEDLE_MAX)
        rc = w->cb(w->arg, form, bytes + n - NEEDLE_MAX, NEEDLE_MAX, err);
    return rc;
}

static void put(struct walk *w, uint8_t c)
{
    w->scratch[w->n++] = c;
}

static void put_hex(struct walk *w, uint8_t c, const char digits[static 16])
{
    put(w, (uint8_t)digits[c >> 4]);
    put(w, (uint8_t)digits[c & 15]);
}

/* How JSON writers differ: which bytes beyond those that must be they escape. */
enum json_habit { JSON_PLAIN, JSON_SLASH, JSON_HTML, JSON_HABITS };

static void put_json(struct walk *w, uint8_t c, enum json_habit habit)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", lower[] = "0123456789abcdef";
    const char *at = c ? strchr(from, c) : NULL;
    if (at || (habit == JSON_SLASH && c == '/')) {
        put(w, '\\');
        put(w, at ? (uint8_t)to[at - from] : '/');
    } else if (c < 0x20 || (habit == JSON_HTML && (c == '<' || c == '>' || c == '&'))) {
        memcpy(w->scratch + w->n, "\\u00", 4);
        w->n += 4;
        put_hex(w, c, lower);
    } else {
        put(w, c);
    }
}

static int json_forms(struct walk *w, const uint8_t *value, size_t len, struct err *err)
{
    int rc = 0;
    for (int habit = 0; habit < JSON_HABITS && rc == 0; habit++) {
        w->n = 0;
        for (size_t i = 0; i < len; i++)
            put_json(w, value[i], (enum json_habit)habit);
        rc = give(w, NEEDLE_JSON, w->scratch, w->n, err);
    }
    return rc;
}

static bool in_set(uint8_t c, const char *more)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr(more, c));
}

/* Every URI writer keeps a set of its own besides letters and digits. */
static int uri_forms(struct walk *w, const uint8_t *value, size_t len, struct err *err)
{
    static const struct {
        const char *kept, *digits;
        bool plus;
    } habits[] = {
        {"-._~", "0123456789ABCDEF", false},                 /* RFC 3986 */
        {"-._~", "0123456789abcdef", false},                 /* the same in lower case */
        {"-._~/", "0123456789ABCDEF", false},                /* Python's quote */
        {"-._~!'()*", "0123456789ABCDEF", false},            /* encodeURIComponent */
        {"-._~!'()*;/?:@&=+$,#", "0123456789ABCDEF", false}, /* encodeURI */
        {"-._*", "0123456789ABCDEF", true},                  /* forms */
    };
    int rc = 0;
    for (size_t h = 0; h < sizeof habits / sizeof habits[0] && rc == 0; h++) {
        w->n = 0;
        for (size_t i = 0; i < len; i++) {
            if (in_set(value[i], habits[h].kept)) {
                put(w, value[i]);
            } else if (habits[h].plus && value[i] == ' ') {
                put(w, '+');
            } else {
                put(w, '%');
                put_hex(w, value[i], habits[h].digits);
            }
        }
        rc = give(w, NEEDLE_URI, w->scratch, w->n, err);
    }
    return rc;
}

static int hex_forms(struct walk *w, const uint8_t *value, size_t len, struct err *err)
{
    static const char *const cases[] = {"0123456789abcdef", "0123456789ABCDEF"};
    int rc = 0;
    for (size_t c = 0; c < 2 && rc == 0; c++) {
        w->n = 0;
        for (size_t i = 0; i < len; i++)
            put_hex(w, value[i], cases[c]);
        rc = give(w, NEEDLE_HEX, w->scratch, w->n, err);
    }
    return rc;
}

/* The digits that the value alone decides when `shift` (0..2) other bytes stand before it in its group
 * of three, and any behind it. */
static void put_base64(struct walk *w, const uint8_t *value, size_t len, size_t shift,
                       const char digits[static 64])
{
    w->n = 0;
    size_t first = (shift * 8 + 5) / 6, end = (shift + len) * 8 / 6;
    for (size_t d = first; d < end; d++) {
        size_t bit = d * 6 - shift * 8;
        unsigned two = (unsigned)value[bit / 8] << 8;
        if (bit / 8 + 1 < len)
            two |= value[bit / 8 + 1];
        put(w, (uint8_t)digits[two >> (10 - bit % 8) & 63]);
    }
}

/* What stands in the scratch, as lines of `width` digits. The first line of an armoured key holds
 * little but its armour, which is no secret. */
static int wrapped(struct walk *w, size_t width, bool armoured, struct err *err)
{
    int rc = 0;
    for (size_t at = armoured ? width : 0; w->n > width && at < w->n && rc == 0; at += width)
        rc = give(w, NEEDLE_BASE64, w->scratch + at, w->n - at < width ? w->n - at : width, err);
    return rc;
}

static bool is_armour(const uint8_t *line, size_t n)
{
    return n >= 5 && memcmp(line, "-----", 5) == 0;
}

static int base64_forms(struct walk *w, const uint8_t *value, size_t len, struct err *err)
{
    static const char *const alphabets[] = {base64_digits, base64url_digits};
    int rc = 0;
    for (size_t a = 0; a < 2; a++) {
        for (size_t shift = 0; shift < 3 && rc == 0; shift++) {
            put_base64(w, value, len, shift, alphabets[a]);
            rc = give(w, NEEDLE_BASE64, w->scratch, w->n, err);
            if (rc == 0 && shift == 0 && (rc = wrapped(w, 64, is_armour(value, len), err)) == 0)
                rc = wrapped(w, 76, is_armour(value, len), err);
        }
    }
    return rc;
}

/* A line of the value: what a text that is read line by line shows of it. */
static int line_forms(struct walk *w, const uint8_t *line, size_t n, struct err *err)
{
    int rc = is_armour(line, n) ? 0 : give(w, NEEDLE_RAW, line, n, err);
    if (rc < 0 || is_armour(line, n) || (rc = json_forms(w, line, n, err)) < 0)
        return rc;
    return uri_forms(w, line, n, err);
}

static int each_line(struct walk *w, const uint8_t *value, size_t len, struct err *err)
{
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        size_t n = 0;
        while (at + n < len && value[at + n] != '\n' && value[at + n] != '\r')
            n++;
        rc = line_forms(w, value + at, n, err);
        at += n + 1;
    }
    return rc;
}

int needle_forms_each(const void *value, size_t len, needle_form_cb *cb, void *arg, struct err *err)
{
    struct walk w = {.cb = cb, .arg = arg};
    if (len > NEEDLE_VALUE_MAX)
        return err_set(err, ERR_REFUSED, "a secret of %zu bytes: at most %u can be hidden", len,
                       NEEDLE_VALUE_MAX);
    if (len < NEEDLE_WINDOW)
        return 0; /* its longer forms alone would only look like protection */
    if (!(w.scratch = secret_new(WORST_GROWTH * len, err)))
        return -(int)err->code;
    int rc = each_line(&w, value, len, err);
    if (rc == 0)
        rc = json_forms(&w, value, len, err);
    if (rc == 0)
        rc = uri_forms(&w, value, len, err);
    if (rc == 0)
        rc = base64_forms(&w, value, len, err);
    if (rc == 0)
        rc = hex_forms(&w, value, len, err);
    secret_free(w.scratch);
    return rc;
}

static int note_form(void *arg, enum needle_form form, const uint8_t *bytes, size_t n,
                     struct err *err)
{
    (void)bytes;
    (void)n;
    (void)err;
    *(unsigned *)arg |= 1u << form;
    return 0;
}

unsigned needle_forms(const void *value, size_t len, struct err *err)
{
    unsigned forms = 0;
    return needle_forms_each(value, len, note_form, &forms, err) < 0 ? 0 : forms;
}
