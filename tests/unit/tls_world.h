/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of TLS share: certificates made on the spot, the openssl command as a peer, contexts. The
 * world is one for all tests of a program. */
#ifndef SLUICE_TESTS_TLS_WORLD_H
#define SLUICE_TESTS_TLS_WORLD_H

#include <sys/types.h>

#include "net_world.h"

extern struct world w;
extern char tls_dir[];

/* Before and after all tests: a folder of NAME.pem and NAME.key. */
int tls_make_all(void **state);
int tls_remove_all(void **state);
/* Before and after each. */
int tls_set_up(void **state);
int tls_tear_down(void **state);
/* The path of a file in the folder; good until seven more are asked for. */
const char *file(const char *name);

struct child {
    pid_t pid;
    int in, out;
    struct buf said; /* ends with a zero that is not counted */
};

/* Runs a command in the folder. */
void child_start(struct child *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool child_said(struct child *c, const char *text);
void child_say(struct child *c, const char *text);
void child_stop(struct child *c);

/* NAME.pem and NAME.key with a CA, NULL: none. */
struct tls_context *server_context(const char *name, const char *client_ca);
struct tls_context *client_context(const char *ca, const char *name, const char *alpn);
/* Connects to 127.0.0.1 and expects name there. */
struct end *end_tls(uint16_t port, struct tls_context *t, const char *name);

#endif
