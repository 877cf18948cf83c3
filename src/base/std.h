/* Standard descriptors that the caller left closed. */
#ifndef BASE_STD_H
#define BASE_STD_H

#include <stdbool.h>

/* Takes those of 0 to 2 that are closed, so that nothing else is ever opened there; they stay as good as closed. */
void stdio_occupy(void);
/* Whether a descriptor is only occupied so. */
bool stdio_closed(int fd);

#endif
