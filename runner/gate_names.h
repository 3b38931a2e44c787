/* The addresses that the gate's name server gives out: one of 127.64.0.0/10 for each name, kept for
 * the gate's life and never used for another name. Pure. */
#ifndef RUNNER_GATE_NAMES_H
#define RUNNER_GATE_NAMES_H

#include <stdint.h>

#define GATE_NAMES_MAX 4096

struct gate_names;

struct gate_names *gate_names_new(void); /* NULL: out of memory */
void gate_names_free(struct gate_names *n);
/* The name's address in host order; 0 when GATE_NAMES_MAX names have one, or out of memory. */
uint32_t gate_names_address(struct gate_names *n, const char *name);
/* Whose address (host order) it is, or NULL. Valid as long as the table. */
const char *gate_names_name(const struct gate_names *n, uint32_t address);

#endif
