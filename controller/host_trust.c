/* Whom we talk to, and as whom: the SSH session's key exchange, the comparison of the host's key
 * with the pinned one, and the login by our key. No file of the operator's ssh (config,
 * known_hosts, agent) is read. Nothing is sent to a host, not even the login name, before its key
 * was found to be right. */
#include "controller/host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/server.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ECDSA_KINDS "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"
#define RSA_KINDS   "rsa-sha2-512,rsa-sha2-256"

/* What is asked for in each round. A host offers one key of the kinds we name; only a fingerprint
 * is pinned, so when the key is not the pinned one, the kinds not seen yet are asked for. */
static const char *const key_kinds[] = {
    "ssh-ed25519," ECDSA_KINDS "," RSA_KINDS,
    ECDSA_KINDS "," RSA_KINDS,
    RSA_KINDS,
};
#define KEY_ROUNDS (sizeof key_kinds / sizeof key_kinds[0])

static const char ciphers[] = "aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,"
                              "aes128-gcm@openssh.com,aes256-ctr";

/* libssh queues what a server asks for (channels, forwards) without limit unless somebody answers.
 */
static int refuse_request(ssh_session session, ssh_message message, void *arg)
{
    return 1;
}

static int options(struct host_link *h, int fd)
{
    ssh_session s = h->session;
    int no = 0, yes = 1;
    unsigned port = h->target.port;
    /* First of all: without it libssh would read ~/.ssh/config and run its Match exec lines. */
    if (ssh_options_set(s, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_HOST, h->target.addr) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_USER, h->target.user) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_KNOWNHOSTS, "/dev/null") < 0 ||
        ssh_options_set(s, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null") < 0 ||
        ssh_options_set(s, SSH_OPTIONS_NODELAY, &yes) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_HOSTKEYS, key_kinds[h->key_round]) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_CIPHERS_C_S, ciphers) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_CIPHERS_S_C, ciphers) < 0 ||
        ssh_options_set(s, SSH_OPTIONS_FD, &fd) < 0)
        return -1;
    ssh_set_message_callback(s, refuse_request, NULL);
    ssh_set_blocking(s, 0);
    return 0;
}

int host_login_key(struct host_link *h, struct err *err)
{
    int rc = ssh_pki_import_privkey_file(h->target.ssh_key, NULL, NULL, NULL, &h->login);
    if (rc == SSH_EOF)
        return err_set(err, ERR_FAIL, "%s: no such file, or not readable (the SSH login key)",
                       h->target.ssh_key);
    if (rc != SSH_OK)
        return err_set(err, ERR_FAIL,
                       "%s: not an unencrypted private key in OpenSSH form (the SSH login key)",
                       h->target.ssh_key);
    return 0;
}

int host_session_start(struct host_link *h)
{
    h->session = ssh_new();
    int fd = h->session ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd < 0)
        return host_fail(h, ERR_FAIL, "host %s: cannot start a session: %s", h->target.name,
                         strerror(errno));
    if (options(h, fd) < 0) {
        host_fail(h, ERR_USAGE, "host %s: %s", h->target.name, ssh_get_error(h->session));
        close(fd);
        return -ERR_USAGE;
    }
    /* From its first step on, ssh_connect owns the duplicate. */
    return 0;
}

void host_session_end(struct host_link *h)
{
    if (h->event) {
        ssh_event_remove_session(h->event, h->session);
        ssh_event_free(h->event);
        h->event = NULL;
    }
    if (h->session) {
        if (ssh_is_connected(h->session))
            ssh_disconnect(h->session);
        ssh_free(h->session);
        h->session = NULL;
    }
}

/* Writes the host's key as "TYPE BASE64" and its fingerprint. */
static int seen_key(struct host_link *h, char fpr[static KEY_FPR_SIZE])
{
    ssh_key key = NULL;
    char *b64 = NULL;
    struct ssh_pub pub;
    struct err err = ERR_INIT;
    int n = -1;

    if (ssh_get_server_publickey(h->session, &key) == SSH_OK &&
        ssh_pki_export_pubkey_base64(key, &b64) == SSH_OK)
        n = snprintf(h->key_line, sizeof h->key_line, "%s %s",
                     ssh_key_type_to_char(ssh_key_type(key)), b64);
    ssh_string_free_char(b64);
    ssh_key_free(key);
    if (n < 0 || n >= (int)sizeof h->key_line)
        return host_fail(h, ERR_HOST, "host %s: its host key cannot be read", h->target.name);
    if (ssh_pub_parse(h->key_line, &pub, &err) < 0)
        return host_fail(h, ERR_HOST, "host %s: host key: %s", h->target.name, err.msg);
    ssh_pub_fingerprint(&pub, fpr);
    return 0;
}

static int mismatch(struct host_link *h)
{
    return host_fail(h, ERR_TRUST,
                     "host %s: key is %s, pinned is %s; someone may be in between, or the host was "
                     "rebuilt: creel host rm %s, then creel host add",
                     h->target.name, h->seen_fpr, h->target.host_key_fpr, h->target.name);
}

/* The key is not the pinned one. A host may have several: asks for the kinds after the one seen. */
static enum host_step other_kind(struct host_link *h, const char *fpr)
{
    if (!h->seen_fpr[0])
        memcpy(h->seen_fpr, fpr, KEY_FPR_SIZE);
    unsigned seen = strncmp(h->key_line, "ssh-ed25519 ", 12) == 0 ? 0
                    : strncmp(h->key_line, "ecdsa-", 6) == 0      ? 1
                                                                  : 2;
    h->key_round = (seen > h->key_round ? seen : h->key_round) + 1;
    if (h->key_round >= KEY_ROUNDS) {
        mismatch(h);
        return HOST_WAIT;
    }
    host_session_end(h);
    h->next_addr = h->addrs;
    host_dial_next(h);
    return HOST_WAIT;
}

enum host_step host_step_keys(struct host_link *h)
{
    char fpr[KEY_FPR_SIZE];
    int rc = ssh_connect(h->session);
    /* libssh makes the socket blocking once it sees it connected; a host that stops reading would
     * then stop the whole loop. */
    int flags = fcntl(h->fd, F_GETFL);
    if (flags < 0 || fcntl(h->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        rc = SSH_ERROR;
    if (rc == SSH_AGAIN)
        return HOST_WAIT;
    if (rc != SSH_OK) {
        if (h->seen_fpr[0])
            mismatch(h); /* it has no key of the kinds that were left */
        else
            host_fail(h, ERR_HOST, "host %s: no SSH session with %s port %u: %s", h->target.name,
                      h->target.addr, h->target.port, ssh_get_error(h->session));
        return HOST_WAIT;
    }
    if (seen_key(h, fpr) < 0)
        return HOST_WAIT;
    if (h->target.host_key_fpr[0] && strcmp(fpr, h->target.host_key_fpr) != 0)
        return other_kind(h, fpr);
    host_enter(h, HOST_LOGIN);
    return HOST_ON;
}

static void login_refused(struct host_link *h)
{
    char *b64 = NULL;
    const char *type = ssh_key_type_to_char(ssh_key_type(h->login));
    ssh_pki_export_pubkey_base64(h->login, &b64);
    host_fail(h, ERR_TRUST,
              "host %s: login as %s refused; its authorized_keys needs the line: "
              "restrict,command=\"creel-runner attach\" %s %s",
              h->target.name, h->target.user, type ? type : "", b64 ? b64 : "(login key)");
    ssh_string_free_char(b64);
}

enum host_step host_step_login(struct host_link *h)
{
    int rc = ssh_userauth_publickey(h->session, NULL, h->login);
    if (rc == SSH_AUTH_AGAIN)
        return HOST_WAIT;
    if (rc == SSH_AUTH_DENIED || rc == SSH_AUTH_PARTIAL) {
        login_refused(h);
        return HOST_WAIT;
    }
    if (rc != SSH_AUTH_SUCCESS) {
        host_fail(h, ERR_HOST, "host %s: connection lost at login: %s", h->target.name,
                  ssh_get_error(h->session));
        return HOST_WAIT;
    }
    ssh_key_free(h->login);
    h->login = NULL;
    h->event = ssh_event_new();
    if (!h->event || ssh_event_add_session(h->event, h->session) != SSH_OK) {
        host_fail(h, ERR_FAIL, "host %s: out of memory", h->target.name);
        return HOST_WAIT;
    }
    host_enter(h, HOST_OPENING);
    return HOST_ON;
}
