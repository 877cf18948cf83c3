/* Starting the session's command: its descriptors, its environment, the agent in its place. */
#ifndef HUB_LAUNCH_H
#define HUB_LAUNCH_H

#include <sys/resource.h>

#include "hub/hub.h"

struct launch {
  const char *program; /* as given: with a slash a path, else looked up in PATH by the agent */
  char **argv;         /* the program's own */
  char **env;          /* NAME=VALUE that are added last, a 0 at the end */
  bool clean_env;      /* take no names of the slave's environment but who and where the user is */
  int mode;            /* enum fsyscall_mode */
  bool programs_here;  /* PATH is the slave's */
  const char *cwd;     /* local directory to start in, or 0: the slave's */
  const char *tmpdir;
  struct rlimit files; /* RLIMIT_NOFILE as it was before the hub raised its own */
};

/* The agent's executable, sealed; -errno. */
int agent_open(uint64_t id);
/* The environment, malloc'd. hub_slave_env() has to be there (0 without a slave: ours). 0 without memory. */
char **launch_environment(struct hub *h, const struct launch *l);
/* Starts it. The pid, or -errno (said). */
pid_t launch(struct hub *h, const struct launch *l);

#endif
