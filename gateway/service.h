/* SPDX-License-Identifier: Apache-2.0 */
/* A service is what main starts and stops: the store, the broker, the lines, the bridges, the control socket.
 * main knows only the table services[], which the Makefile generates from the selected objects in the order
 * of their objects.mk lines. Everything here happens on the loop's thread. */
#ifndef SLUICE_SERVICE_H
#define SLUICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"

struct auth;
struct broker;
struct cJSON;
struct net;
struct notes;
struct store;

/* What services share. conf is the configuration in force; the pointers are set by the service that owns the
 * thing. */
struct gateway {
    uv_loop_t *loop;
    struct conf *conf;
    struct net *net;       /* set by main before any service */
    struct store *store;   /* set by the store service */
    struct auth *auth;     /* set by the auth service */
    struct broker *broker; /* set by the broker service */
    struct notes *notes;   /* set by the broker service */
    const char *root;      /* topic root: "sluice/{site}" unless configured */
    uint32_t boot;         /* number of this start, never used before; set by the store service */

    /* Set by main, for those who answer people. */
    const char *conf_path;
    uint64_t started_us, loaded_us; /* CLOCK_BOOTTIME: the start; when conf came into force */
    /* What SIGHUP does: reads the files anew and, when they are right, brings them into force. Mistakes and
     * warnings also go through emit (may be NULL). 0, -EINVAL when the files were refused whole, or what a
     * service's reload returned. */
    int (*reload)(struct gateway *gw, void (*emit)(void *arg, bool is_error, const char *text), void *arg);
};

struct service {
    const char *name;
    const struct conf_row *rows; /* top-level rows; may be NULL. Ends with a row without a name */
    /* Looks for mistakes that rows cannot see; no effects. report: where to print what --check tells beyond
     * mistakes (predicted line load …), or NULL. */
    void (*check)(struct conf *conf, FILE *report);
    /* 0 or -E…; what went wrong has been logged. After a failure it is stopped like one that started. */
    int (*start)(struct gateway *gw);
    /* A checked configuration comes into force (gw->conf is still the old one): change what differs, keep
     * what does not. 0, or -E… when the new one cannot be had: then this service goes on with the old one. */
    int (*reload)(struct gateway *gw, const struct conf *next);
    /* Begins to end; must come to an end by itself while the loop runs on. */
    void (*stop)(struct gateway *gw);
    /* True when nothing of it is left to wait for. NULL: stop() ends it at once. */
    bool (*stopped)(struct gateway *gw);
    /* Adds what people watch to an object of the status answer. */
    void (*status)(struct gateway *gw, struct cJSON *into);
    const struct request *requests; /* over the control socket (base/asker.h); ends with a row without a name.
                                       May be NULL */
};

extern const struct service *const services[]; /* ends with NULL */
extern const struct conf_absent features_absent[];

#endif
