/* light.c: files and directories opened from memory, of which the slave does not know. */
#ifndef AGENT_LIGHT_H
#define AGENT_LIGHT_H

#include "agent/io.h"
#include "agent/names.h"

/* Opens what names_ask() found at `at' from memory: a descriptor or -errno; LIGHT_NO: the slave is to open it. */
#define LIGHT_NO (-100000)
long light_open(struct call *c, const struct at *at, unsigned long flags, const struct name_answer *a);

/* The light file behind a descriptor, held until light_put(); 0: it is none. */
struct light *light_get(struct proc *p, int fd);
void light_put(struct light *l);

/*
 * These answer in *r what is asked of such a descriptor; false: it is none, or none any longer, and goes the usual way.
 * off: OWN_OFFSET or where to read.
 */
bool light_read(struct call *c, int fd, void *to, uint64_t n, uint64_t off, long *r);
bool light_seek(struct call *c, int fd, int64_t by, unsigned whence, long *r);
bool light_attr(struct call *c, int fd, struct wire_attr *a);
bool light_flags(struct call *c, int fd, long *r);
bool light_statfs(struct call *c, int fd, long *r); /* by its name, if that still leads there: one round trip */
bool light_map(struct call *c, int fd, long *r); /* mmap, registers as they are */
/* Whole records of a directory, at most `room' bytes, into t->msg. */
bool light_records(struct call *c, int fd, unsigned long room, const uint8_t **block, long *r);
/* The device and inode, and (path, 4096 bytes, or 0) the name, of a directory opened from memory. */
bool light_dir(struct proc *p, int fd, char *path, uint64_t *dev, uint64_t *ino);

/* From here on the slave has the file open, and the descriptors are like any other. */
void light_settle(struct proc *p, int fd);
void light_settle_all(struct proc *p);
/* Before a call is served: what must not find light descriptors, since others come to share them or names change. */
void light_before(const struct call *c);

/* vft.c: the number of the light file that a descriptor stands for, -1: none. */
int vft_light(struct proc *p, int fd);
void vft_set_light(struct proc *p, int fd, unsigned light);
void vft_replace(struct proc *p, int fd, struct handle h); /* H_NONE: local */
/* The next descriptor from `fd' on that stands for that light file (-1: for any); -1: none. */
int vft_next_light(struct proc *p, int fd, int light);
/* A descriptor more or less stands for it. */
void light_hold(struct proc *p, unsigned light);
void light_release(struct proc *p, unsigned light);

#endif
