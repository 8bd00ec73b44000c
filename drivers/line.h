/* SPDX-License-Identifier: Apache-2.0 */
/* A serial line of our own: a thread that opens the port, opens it again with back-off when it vanishes, and
 * in between lets the protocol serve it. What it learns goes to the loop as owned items through `mail`, of
 * which this thread is the only poster; what the loop wants of it comes through `orders`, of which the loop
 * is. Orders that are left when the thread has ended are whose line it is. Knows no protocol. start and free
 * on the loop's thread; stop from any. */
#ifndef SLUICE_DRIVERS_LINE_H
#define SLUICE_DRIVERS_LINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "drivers/port.h"

enum { LINE_MAIL_MAX = 256, LINE_ORDERS_MAX = 64 };

struct line;

/* On the line's thread. */
struct line_ops {
    /* The port is open: serve it until line_stopping() (then 0) or until it fails (-E…). */
    int (*serve)(void *arg, struct line *l, struct port *p);
    /* The port cannot be opened or was lost; once until it is open again. */
    void (*down)(void *arg, struct line *l, const char *why);
    /* Now and then while there is no port: answer the orders that nobody can carry out. */
    void (*refuse)(void *arg, struct line *l);
};

struct line {
    const char *name;
    struct port_settings settings;
    const struct line_ops *ops;
    void *arg;
    struct mailbox mail;   /* to the loop */
    struct mailbox orders; /* from the loop */
    pthread_t thread;
    int wake_fd;  /* readable once the line is to stop */
    int order_fd; /* readable when there are orders */
    atomic_bool stopping, ended;
    pthread_mutex_t facts_lock;
    struct port_facts facts; /* of the port when it was last looked at */
    uint64_t looked_us;
    atomic_ullong visit; /* see line_visit */
};

/* Somebody has the line for a while, and nothing is polled: to listen to it alone, or to ask at another
 * speed. One word, so that no thread sees half of it. */
struct line_visit {
    bool on, listen;
    uint32_t baud;   /* 0: the line's own speed and format */
    unsigned format; /* index into serial_formats */
};

/* name, settings, ops and arg are set by the caller and live as long as the line. wake: from any thread, when
 * mail was empty and when the thread ends. 0 or -E…. */
int line_start(struct line *l, void (*wake)(void *arg), void *wake_arg);

/* Asks the thread to end: it leaves the exchange that is under way. */
void line_stop(struct line *l);

/* True when line_join will not block. */
bool line_ended(const struct line *l);

/* After line_stop: waits for the thread. What it posted last can still be taken; then line_free. */
void line_join(struct line *l);
void line_free(struct line *l);

/* Passes an order to the thread, which takes it between two exchanges. 0, or -EAGAIN when too many wait. */
int line_order(struct line *l, struct list *order);

/* What is known of its port; facts.known is false while none is open. Any thread. */
void line_facts(struct line *l, struct port_facts *out);
/* From the loop: sets it, and wakes the thread, which does so between two exchanges. */
void line_visit(struct line *l, struct line_visit v);
/* Any thread: what was set. */
struct line_visit line_visited(const struct line *l);

/* For the thread itself. */
bool line_stopping(const struct line *l);
/* Now and then while it serves a port: what the port counts is looked at once a second. */
void line_look(struct line *l, struct port *p);
void line_take_orders(struct line *l, struct list *out);

#endif
