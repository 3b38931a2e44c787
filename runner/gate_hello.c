/* The name in a TLS ClientHello must be the one that was judged: whoever answers to that address may
 * serve other names too. */
#include "runner/gate_internal.h"

#include <string.h>

int gate_hello_judge(struct gate_conn *c)
{
    char name[DNS_NAME_SIZE];
    const char *why = "";
    int r = client_hello_name(c->in.data, c->in.len, name, &why);
    if (r == 0)
        return 0;
    c->voice = VOICE_TLS;
    if (r < 0)
        gate_conn_deny(c, 403, EGRESS_REFUSED, "TLS: %s", why);
    else if (strcmp(name, c->name) != 0)
        gate_conn_deny(c, 403, EGRESS_REFUSED, "the TLS name is %.80s", name);
    else
        return 1;
    return -1;
}

void gate_hello_take(struct gate_conn *c)
{
    int r = gate_hello_judge(c);
    if (r == 0 && c->jail.eof) {
        gate_conn_end(c);
    } else if (r > 0) {
        if (c->net.fd >= 0)
            gate_flow_begin(c);
        else
            gate_dial(c);
    }
}

void gate_hello_read(struct gate_conn *c)
{
    if (gate_conn_fill(c, CLIENT_HELLO_BYTES) >= 0)
        gate_hello_take(c);
}
