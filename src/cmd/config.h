/* What ~/.config/nexec/config says of a host. */
#ifndef CMD_CONFIG_H
#define CMD_CONFIG_H

#include <stdbool.h>

struct config_word {
  const char *keyword; /* as in the file, whatever the case */
  int option;          /* what config_read() reports it as */
};
/* The file's place: $NEXEC_CONFIG, else ~/.config/nexec/config; 0: there is no home. Static storage. */
const char *config_path(void);
/*
 * Calls `take' for each line of `path' that applies to `host', in order; `words' ends with a null keyword. The value
 * lives as long as the process. A missing file is none at all if `optional'. False: said on standard error, with the
 * line's number.
 */
bool config_read(const char *path, bool optional, const char *host, const struct config_word *words,
                 void (*take)(void *to, int option, const char *value), void *to);

#endif
