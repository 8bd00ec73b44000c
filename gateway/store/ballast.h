/* SPDX-License-Identifier: Apache-2.0 */
/* A file that only takes up room. When the disk is full it is deleted, so that the transaction which deletes
 * queued messages, and the log that it needs, find room; it is made again once there is plenty. */
#ifndef SLUICE_STORE_BALLAST_H
#define SLUICE_STORE_BALLAST_H

#include <stdbool.h>
#include <stdint.h>

/* Makes it when it is not there, its size differs and the file system keeps twice its size free. 0: there is
 * none; an existing one is deleted. True when it is there as asked. */
bool ballast_make(int dir_fd, uint64_t bytes);
/* True when there was one. */
bool ballast_release(int dir_fd);
/* Room that this process may still use on the folder's file system. */
uint64_t ballast_room(int dir_fd);

#endif
