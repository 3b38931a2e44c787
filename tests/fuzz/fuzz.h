/* What a fuzz target defines and, for what must hold, says. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* As assert(), also where NDEBUG is defined. */
#define MUST(cond)   \
    do {             \
        if (!(cond)) \
            abort(); \
    } while (0)

#endif
