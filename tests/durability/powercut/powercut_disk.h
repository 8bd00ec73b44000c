/* SPDX-License-Identifier: Apache-2.0 */
/* The disk that a power cut leaves: what was synced of the files below POWERCUT_DIR, in POWERCUT_IMAGE, and
 * what was not, in memory. powercut.c tells it of each call, under its own lock. */
#ifndef SLUICE_TESTS_POWERCUT_DISK_H
#define SLUICE_TESTS_POWERCUT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PATH_SIZE = 1024 };

struct name {
    struct name *next;
    char path[PATH_SIZE]; /* below POWERCUT_DIR */
    struct inode *inode;
};

#pragma GCC visibility push(hidden)

extern char dir[PATH_SIZE]; /* POWERCUT_DIR, without links */
extern size_t dir_len;
extern struct name *names; /* as they are now */
extern bool watching;

_Noreturn void give_up(const char *what);

struct inode *make_inode(void);
/* A file that comes from elsewhere, durable as it is. path: below POWERCUT_DIR. */
void copy_in(const char *full, const char *path);
/* A write, or, without data, a new size. */
void add_change(struct inode *inode, const void *data, uint64_t len, uint64_t at);
void sync_inode(struct inode *inode);

/* The place of a name in the list, or its end. */
struct name **find_name(struct name **list, const char *path);
/* from "": a new name; to "": one that ends. */
void add_renaming(const char *from, const char *to, struct inode *inode);
void sync_folder(const char *folder);

/* One more call that changes or syncs something: the last one when its number has come. */
void count_call(void);

#pragma GCC visibility pop

#endif
