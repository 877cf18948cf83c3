/* Which variables of the caller's environment travel to the other machine. */
#ifndef BASE_TRAVEL_H
#define BASE_TRAVEL_H

#include <stdbool.h>

/* Who the person is; and what the terminal, the language and the tools are to be. Each ends with a null pointer. */
extern const char *const travel_person[], *const travel_taste[];
/* NAME=VALUE is one of those, a LC_*, or PATH (which the master uses only with programs of the slave). */
bool travels(const char *entry);

#endif
