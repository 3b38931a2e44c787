/* The operator's files that the broker reads while it runs: providers.json and prices.json, loaded again
 * when they were replaced. */
#ifndef CONTROLLER_BROKER_BOOKS_H
#define CONTROLLER_BROKER_BOOKS_H

#include "controller/broker/price.h"
#include "controller/broker/provider.h"

struct books;

struct books *books_new(int dirfd); /* NULL: out of memory; dirfd is borrowed */
void books_free(struct books *b);   /* NULL is fine */
/* Looks whether the files changed. An error (a file that cannot be read as it is) stays until it is mended:
 * meanwhile nothing is signed for spending, and no call is made. */
int books_look(struct books *b, struct err *err);
/* Good until the next books_look. Prices are NULL when there is no file. */
const struct providers *books_providers(const struct books *b);
const struct prices *books_prices(const struct books *b);

#endif
