/*
 * The user's terminal, on the side where nexec was called: whether the program gets one of its own, and its modes.
 */
#ifndef CMD_TERMINAL_H
#define CMD_TERMINAL_H

#include <stdbool.h>

enum terminal_wish { TERMINAL_AUTO, TERMINAL_FORCED, TERMINAL_NONE };

/* Remembers the modes, and decides. Before signals are blocked: in the background it stops if a terminal is wanted. */
void terminal_begin(enum terminal_wish wish);
/* The program gets a terminal of its own. */
bool terminal_own(void);
/* Its modes are to be these (`stty -g'), "-": those of any. */
const char *terminal_modes(void);
/* From now on every key is the program's; only for a program with a terminal of its own, and in the foreground. */
void terminal_raw(void);
/* As it was. A process in the background does not touch what others may have set since: unless `anyway'. */
void terminal_restore(bool anyway);

#endif
