/*
 * Standard descriptors that the caller left closed: an O_PATH descriptor of the root stands there, which can neither be read
 * nor written, and which fcntl tells from everything that a caller would pass on.
 */
#include "base/std.h"

#include <fcntl.h>

void stdio_occupy(void)
{
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0)
      open("/", O_PATH);
}

bool stdio_closed(int fd)
{
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 || flags & O_PATH;
}
