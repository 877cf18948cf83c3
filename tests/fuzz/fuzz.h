/* A fuzz target: run by libFuzzer, or some thousand times by smoke.c with inputs that are the same each time. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
/* A good input to begin with; its length, 0: it does not fit. */
size_t fuzz_seed(unsigned which, uint8_t *out, size_t room);

#endif
