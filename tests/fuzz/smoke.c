/*
 * Runs a fuzz target without libFuzzer: good inputs, one after the other, then changed ones, always the same. `smoke N
 * FIRST' begins at another number; `smoke seeds DIRECTORY' writes the good inputs for libFuzzer to start from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

#define SEEDS 48
#define INPUT_MAX 16384

static uint64_t state;

static uint32_t any(uint32_t below)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

/* Several inputs in a row, some of their bytes, and their end. */
static size_t make(unsigned number, uint8_t *out)
{
  static const uint8_t edges[] = {0, 1, 7, 8, 31, 32, 127, 128, 255};
  size_t n = 0;
  state = number;
  for (uint32_t i = 0, parts = 1 + any(4); i < parts; i++)
    n += fuzz_seed(number < SEEDS ? number : any(SEEDS), out + n, INPUT_MAX - n);
  if (number < SEEDS || !n)
    return n;
  for (uint32_t i = 0, changes = 1 + any(6); i < changes; i++)
    out[any(any(2) ? (uint32_t)n : n < 64 ? (uint32_t)n : 64)] = any(2) ? edges[any(sizeof edges)] : (uint8_t)any(256);
  return any(4) ? n : any((uint32_t)n);
}

static int write_seeds(const char *directory)
{
  static uint8_t input[INPUT_MAX];
  for (unsigned i = 0; i < SEEDS; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%u", directory, i);
    FILE *f = fopen(path, "w");
    size_t n = make(i, input);
    if (!f || fwrite(input, 1, n, f) != n || fclose(f)) {
      perror(path);
      return 1;
    }
  }
  return 0;
}

int main(int argc, char **argv)
{
  static uint8_t input[INPUT_MAX];
  if (argc == 3 && !strcmp(argv[1], "seeds"))
    return write_seeds(argv[2]);
  unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 8000, first = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
  for (unsigned i = first; i < first + n; i++)
    LLVMFuzzerTestOneInput(input, make(i, input));
  printf("%u inputs\n", n);
  return 0;
}
