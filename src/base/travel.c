/*
 * The one list of names that travel. The slave sends nothing else of its environment, so that no secret gets to
 * the other machine by accident; whoever wants more says so.
 *
 * Must never hold a name that changes which code is run (LD_*, PYTHONPATH ...).
 */
#include "base/travel.h"

#include <string.h>

const char *const travel_person[] = {"HOME", "USER", "LOGNAME", "SHELL", "PWD", "MAIL", 0};
const char *const travel_taste[] = {
    "TERM",       "COLORTERM",     "LANG",   "LANGUAGE", "TZ",    "DISPLAY", "WAYLAND_DISPLAY",
    "XAUTHORITY", "SSH_AUTH_SOCK", "EDITOR", "VISUAL",   "PAGER", "LESS",    "NO_COLOR",
    "LINES",      "COLUMNS",       0};

static bool among(const char *const *names, const char *entry, size_t n)
{
  for (; *names; names++)
    if (strlen(*names) == n && !memcmp(*names, entry, n))
      return true;
  return false;
}

bool travels(const char *entry)
{
  size_t n = strcspn(entry, "=");
  return !strncmp(entry, "LC_", 3) || (n == 4 && !memcmp(entry, "PATH", 4)) || among(travel_person, entry, n) ||
         among(travel_taste, entry, n);
}
