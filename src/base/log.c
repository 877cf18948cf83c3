/*
 * Lines for a person, on standard error.
 *
 * Owns the program's name and whether details are wanted. Must never write part of a line: one write a line.
 */
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *name = "fsyscall";
static bool verbose;

void log_name(const char *new_name)
{
  name = new_name;
}

void log_verbose(bool on)
{
  verbose = on;
}

static void say(const char *format, va_list args)
{
  char line[2048];
  size_t n = (size_t)snprintf(line, sizeof line, "%s: ", name);
  vsnprintf(line + n, sizeof line - n - 1, format, args);
  n = strlen(line);
  line[n++] = '\n';
  /* Nobody is left to tell when even this fails. */
  if (write(STDERR_FILENO, line, n) < 0)
    return;
}

void log_line(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  say(format, args);
  va_end(args);
}

void log_more(const char *format, ...)
{
  if (!verbose)
    return;
  va_list args;
  va_start(args, format);
  say(format, args);
  va_end(args);
}
