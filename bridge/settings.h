/* SPDX-License-Identifier: Apache-2.0 */
/* What one bridge is told by the configuration: its rows, the mistakes that rows cannot see, and a copy of
 * its own that outlives the tree it was read from. Nothing here connects or routes. Loop thread;
 * settings_check also in --check. */
#ifndef SLUICE_BRIDGE_SETTINGS_H
#define SLUICE_BRIDGE_SETTINGS_H

#include <stdio.h>

#include "base/conf.h"
#include "bridge/remap.h"
#include "bridge/url.h"
#include "broker/session.h"

struct tls_context;

struct settings {
    char *name;
    struct url *urls; /* tried in turn */
    size_t url_count;
    char *client_id;
    char *user, *password, *password_file; /* NULL: none */
    char *server_name;                     /* TLS; NULL: the url's host */
    struct tls_context *tls;               /* NULL when no url wants it */
    struct remap remap;
    struct queue_limits limits;
    uint64_t urgent_bytes; /* in the place of limits.bytes, for the urgent lane */
    uint32_t drain_rate;   /* messages a second; 0: no limit */
    uint32_t backoff_min_ms, backoff_max_ms;
    uint32_t connect_ms; /* from look-up to CONNACK */
    uint32_t ack_ms;     /* without one while something is in flight: the connection is dead */
    uint32_t keepalive_s;
    uint16_t window;
    uint8_t version; /* enum mqtt_version */
    bool clean;
};

extern const struct conf_row bridge_rows[];

void settings_check(struct conf *conf, FILE *report);

/* From a checked element of `bridges`. root: of topics. NULL with a sentence in error when a certificate or
 * key has become unreadable since. */
struct settings *settings_new(const struct conf_node *bridge, const char *site, const char *root, char *error,
                              size_t size);
void settings_free(struct settings *s); /* NULL is fine */

/* The password, read from its file each time so that a new one needs no restart; NULL when there is none. An
 * unreadable file: NULL and a sentence in error (else error is ""). The caller frees it. */
char *settings_password(const struct settings *s, char *error, size_t size);

#endif
