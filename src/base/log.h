/* One clear line for a person, on standard error: "nexec: cannot connect to there:57005: Connection refused". */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>

/* The name in front of every line. Kept, not copied. */
void log_name(const char *name);
/* -v: log_more() speaks too. */
void log_verbose(bool on);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_more(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
