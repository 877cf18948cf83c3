/* Files of settings: nexec's, which say what holds for which host, and nexecd's. */
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
 * Calls `take' for each line of `path' that applies to `host', in order; host 0: there are no parts for hosts. `words'
 * ends with a null keyword, `page' has the list of them. `take' returns 0, or what is wrong with the value, which lives
 * as long as the process. A missing file is none at all if `optional'. False: said on standard error, with the line's
 * number.
 */
typedef const char *config_take(void *to, int option, const char *value);
bool config_read(const char *path, bool optional, const char *host, const char *page, const struct config_word *words,
                 config_take *take, void *to);

#endif
