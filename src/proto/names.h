/*
 * What the master knows of the slave's directories: names, attributes, and which names do not exist.
 *
 * The slave tells it (F_NAMES), of directories that it watches; the hub alone writes it, into memory that every program
 * maps read-only and reads without a lock. All of it is true as of the last frame that the hub took from the slave:
 * what is no longer true is withdrawn by an item that precedes whatever else the slave sends.
 */
#ifndef PROTO_NAMES_H
#define PROTO_NAMES_H

#include <stdint.h>

#include "proto/session.h"

/*
 * Items of a F_NAMES body: one byte of kind, then its fields. A directory is selected by DIR or IN; what follows is
 * about it.
 */
enum name_item {
  NI_DIR = 1,  /* 8 bytes device, 8 inode: from now on watched; nothing else is known of it. Selects it */
  NI_IN,       /* device, inode: selects one that has been told */
  NI_SELF,     /* struct wire_attr: the directory's own attributes */
  NI_ENTRY,    /* 1 byte enum name_flag, name, struct wire_attr, target (empty unless a symbolic link) */
  NI_ABSENT,   /* name: does not exist */
  NI_COMPLETE, /* every name that has not been told does not exist */
  NI_UNKNOWN,  /* name: may exist or not; the directory's own attributes have changed as well */
  NI_FORGET,   /* the selected directory is no longer watched */
  NI_FLUSH,    /* none is: needs no selection */
  NI_KEEP,     /* needs no selection. device, inode, 4 bytes: number for W_AHEAD or 0, then a buffer: all that a regular
                  file holds, or all records of a directory that is complete */
  NI_PART,     /* needs no selection. device, inode, number, 8 bytes size of the file, 8 bytes offset, a buffer: a piece of a
                  larger file. Pieces come in order; together they are as one KEEP */
  NI_STATE,    /* needs no selection. struct wire_attr of a regular file whose last change is long ago: those with which the
                  KEEP, PART or STORED of it that follows is true */
  NI_STORED,   /* needs no selection. device, inode, number: the file of the STATE before it; a KEEP whose bytes the master
                  has said to have (F_HAVE) */
};
enum name_flag {
  NF_FULL = 1,   /* all attributes can be relied on; else only type, device and inode */
  NF_PLAIN = 2,  /* its mode says who may do what with it: there is no access list */
  NF_NOEXEC = 4, /* a regular file that its mount lets nobody execute */
};

#define NAME_ROOM 104  /* longer names are never told */
#define TARGET_ROOM 96 /* longer targets neither */
#define NAME_DIRS 4096
#define NAME_DIR_WAYS 4
#define NAME_ENTRIES 65536
#define NAME_ENTRY_WAYS 8

enum name_dir_flag { ND_KNOWN = 1, ND_COMPLETE = 2, ND_SELF = 4 };
struct name_dir {
  uint32_t seq;      /* odd while the hub writes */
  uint32_t instance; /* entries of another instance are void; 0: free */
  uint32_t flags;    /* enum name_dir_flag */
  uint32_t pad;
  uint64_t dev, ino;
  struct wire_attr self;
};

enum name_state { NS_FREE, NS_THERE, NS_ABSENT, NS_UNKNOWN };
struct name_entry {
  uint32_t seq;
  uint32_t instance; /* of its directory */
  uint8_t state, flags, len, target_len;
  uint32_t gen;      /* gens[] of the file when the attributes were true */
  uint64_t dev, ino; /* of its directory */
  char name[NAME_ROOM];
  char target[TARGET_ROOM];
  struct wire_attr attr;
};

struct names {
  struct name_dir dirs[NAME_DIRS];
  struct name_entry entries[NAME_ENTRIES];
};

static inline uint32_t name_mix(uint64_t dev, uint64_t ino, uint64_t more)
{
  uint64_t x = (dev * 0x9e3779b97f4a7c15u) ^ (ino * 0xff51afd7ed558ccdu) ^ (more * 0xc4ceb9fe1a85ec53u);
  x ^= x >> 29;
  return (uint32_t)((x * 0xbf58476d1ce4e5b9u) >> 32);
}

static inline uint64_t name_hash(const char *name, uint32_t n)
{
  uint64_t h = 0xcbf29ce484222325u;
  for (uint32_t i = 0; i < n; i++)
    h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
  return h;
}

/* The first of the NAME_DIR_WAYS, NAME_ENTRY_WAYS places where it may lie. */
static inline uint32_t name_dir_at(uint64_t dev, uint64_t ino)
{
  return name_mix(dev, ino, 0) % (NAME_DIRS / NAME_DIR_WAYS) * NAME_DIR_WAYS;
}
static inline uint32_t name_entry_at(uint64_t dev, uint64_t ino, uint64_t hash)
{
  return name_mix(dev, ino, hash) % (NAME_ENTRIES / NAME_ENTRY_WAYS) * NAME_ENTRY_WAYS;
}

#define SESSION_NAMES_OFFSET SESSION_SLOTS_END
#define SESSION_NAMES_SIZE ((sizeof(struct names) + 4095) & ~4095ul)

#endif
