/* SPDX-License-Identifier: Apache-2.0 */
/* Asks for a password: twice and without echo on a terminal, else one line of standard input. Never from an
 * argument, which everybody on the box could read. */
#ifndef SLUICE_CTL_SECRET_H
#define SLUICE_CTL_SECRET_H

#include <stddef.h>

enum { SECRET_MOST = 1024 };

/* 0, or -E… with the reason on stderr. out: to be wiped by the caller. */
int secret_ask(const char *whose, char out[SECRET_MOST + 1]);

#endif
