/* Ends every program of a session, whoever its parent is. */
#ifndef BASE_KILLALL_H
#define BASE_KILLALL_H

#include <stdint.h>

/* What /proc/PID/exe says of them is "/memfd:" and this, with the session's id in hex. */
#define AGENT_NAME_FORMAT "fsyscall-agent-%lx"

/* SIGKILL until a whole look at /proc finds none that is still alive. Returns how many were told. */
int killall_session(uint64_t id);

#endif
