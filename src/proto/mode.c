/* Modes in words. Owns nothing. */
#include "proto/mode.h"

static const struct word {
  const char *text;
  int clear, set;
} words[] = {
    {"local", FSYSCALL_REMOTE, 0},
    {"remote", 0, FSYSCALL_REMOTE},
    {"unmapped", FSYSCALL_MAPPED, 0},
    {"mapped", 0, FSYSCALL_MAPPED},
};

const char *mode_text(int mode)
{
  static const char *const texts[] = {"local,unmapped", "remote,unmapped", "local,mapped", "remote,mapped"};
  return texts[mode & MODE_ALL];
}

/* Behind the word, or 0. */
static const char *skip(const char *at, const char *word)
{
  while (*word)
    if (*at++ != *word++)
      return 0;
  return *at == ',' || *at == '\n' || !*at ? at : 0;
}

static const char *take(const char *at, int *mode)
{
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
    const char *behind = skip(at, words[i].text);
    if (!behind)
      continue;
    *mode = (*mode & ~words[i].clear) | words[i].set;
    return behind;
  }
  return 0;
}

int mode_parse(const char *text, int mode)
{
  for (;; text++) {
    if (!(text = take(text, &mode)))
      return -1;
    if (*text != ',')
      return mode;
  }
}
