/* References to secrets: their form, and the file that holds them. No value is ever here. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/broker/secrets_internal.h"

static const struct json_field ref_fields[] = {
    JSON_ROW(struct secret_ref, TEXT, name),
    JSON_ROW(struct secret_ref, TEXT, ref),
    JSON_END,
};
static const struct json_shape ref_shape = {sizeof(struct secret_ref), ref_fields};

static const struct json_field refs_fields[] = {
    JSON_ROW_AS(struct secret_refs, LIST, list, "secrets", .shape = &ref_shape),
    JSON_END,
};
const struct json_shape secret_refs_shape = {sizeof(struct secret_refs), refs_fields};

bool secret_name_valid(const char *name)
{
    static const char all[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(name, all);
    return n > 0 && n < SECRET_NAME_SIZE && name[n] == 0 && !strchr("._-", name[0]);
}

static int check_file(const char *path, struct err *err)
{
    return path[0] == '/' ? 0 : err_set(err, ERR_USAGE, "file:PATH wants an absolute path");
}

static int check_env(const char *name, struct err *err)
{
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    bool fits = name[0] && name[strspn(name, all)] == 0 && !(name[0] >= '0' && name[0] <= '9');
    return fits ? 0 : err_set(err, ERR_USAGE, "env:NAME wants the name of a variable");
}

static int check_cmd(const char *line, struct err *err)
{
    return line[strspn(line, " ")] ? 0 : err_set(err, ERR_USAGE, "cmd:LINE wants a command");
}

/* Without a user or password in it: those are what git is asked for. */
static int check_url(const char *url, struct err *err)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : "";
    size_t n = strcspn(host, "/");
    if (n == 0 || memchr(host, '@', n) || strchr(url, ' '))
        return err_set(err, ERR_USAGE, "git-credential:URL wants https://HOST[/PATH]");
    return 0;
}

int secret_ref_check(const char *ref, struct err *err)
{
    static const struct {
        const char *kind;
        int (*check)(const char *rest, struct err *err);
    } kinds[] = {
        {"cmd:", check_cmd},
        {"file:", check_file},
        {"env:", check_env},
        {"git-credential:", check_url},
    };
    for (const char *c = ref; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(err, ERR_USAGE, "a reference is one line without control characters");
    }
    if (strlen(ref) >= SECRET_REF_SIZE)
        return err_set(err, ERR_USAGE, "a reference of at most %d bytes", SECRET_REF_SIZE - 1);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].kind);
        if (strncmp(ref, kinds[i].kind, n) == 0)
            return kinds[i].check(ref + n, err);
    }
    /* The text may be the secret itself, given by mistake: it is not repeated. */
    return err_set(err, ERR_USAGE,
                   "not a reference: it begins with cmd:, file:, env: or git-credential:");
}

const struct secret_ref *secret_refs_find(const struct secret_refs *r, const char *name)
{
    const struct secret_ref *v = r->list.items;
    for (size_t i = 0; i < r->list.n; i++) {
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    }
    return NULL;
}

static int refs_check(const struct secret_refs *r, struct err *err)
{
    const struct secret_ref *v = r->list.items;
    for (size_t i = 0; i < r->list.n; i++) {
        if (!secret_name_valid(v[i].name))
            return err_set(err, ERR_USAGE, SECRETS_FILE ": secrets[%zu]: not a name", i);
        if (secret_refs_find(r, v[i].name) != &v[i])
            return err_set(err, ERR_USAGE, SECRETS_FILE ": %s is there twice", v[i].name);
        if (secret_ref_check(v[i].ref, err) < 0)
            return err_wrap(err, SECRETS_FILE ": %s", v[i].name);
    }
    return 0;
}

int secret_refs_parse(const void *bytes, size_t len, struct secret_refs *out, struct err *err)
{
    if (json_decode(&secret_refs_shape, bytes, len, out, err) < 0) {
        err->code = ERR_USAGE;
        return err_wrap(err, SECRETS_FILE);
    }
    int rc = refs_check(out, err);
    if (rc < 0)
        secret_refs_done(out);
    return rc;
}

int secret_refs_load(int dirfd, struct secret_refs *out, struct err *err)
{
    struct buf text;
    *out = (struct secret_refs){0};
    if (faccessat(dirfd, SECRETS_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    buf_init(&text, JSON_BYTES_MAX);
    int rc = file_read(dirfd, SECRETS_FILE, &text, err);
    if (rc == 0)
        rc = secret_refs_parse(text.data, text.len, out, err);
    buf_done(&text);
    return rc;
}

int secret_refs_save(int dirfd, const struct secret_refs *r, struct err *err)
{
    struct buf text;
    int rc = refs_check(r, err);
    if (rc < 0)
        return rc;
    buf_init(&text, JSON_BYTES_MAX);
    rc = json_encode(&secret_refs_shape, r, &text, err);
    if (rc == 0 && buf_addc(&text, '\n') < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0)
        rc = file_replace(dirfd, SECRETS_FILE, text.data, text.len, 0600, err);
    buf_done(&text);
    return rc;
}

void secret_refs_done(struct secret_refs *r)
{
    json_release(&secret_refs_shape, r);
}
