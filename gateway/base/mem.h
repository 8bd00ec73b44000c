/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for small things whose size we decide: zeroed, and a failure ends the program (there is nothing
 * sensible left to do). What a peer sizes is refused by a limit before it comes here. Any thread. */
#ifndef SLUICE_BASE_MEM_H
#define SLUICE_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))

/* Zeroed memory; never NULL. Release with free(). */
void *mem_alloc(size_t size);

/* The size of a struct that ends with member[], with so many bytes of it; sizeof would count the padding that
 * member begins in. */
#define mem_size_with(type, member, len) (offsetof(type, member) + (len))

/* realloc() that never fails; the grown part is not zeroed. */
void *mem_resize(void *ptr, size_t size);

char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t len);

/* Once, before anything large is allocated: how the heap gives memory back. */
void mem_tune(void);

/* A formatted string of its own. */
char *mem_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *mem_vformat(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));

#endif
