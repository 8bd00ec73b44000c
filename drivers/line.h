/* SPDX-License-Identifier: Apache-2.0 */
/* A serial line of our own: a thread that opens the port, opens it again with back-off when it vanishes, and
 * in between lets the protocol serve it. What it learns goes to the loop as owned items through `mail`, of
 * which this thread is the only poster. Knows no protocol. start and free on the loop's thread; stop from
 * any. */
#ifndef SLUICE_DRIVERS_LINE_H
#define SLUICE_DRIVERS_LINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/mailbox.h"
#include "drivers/port.h"

enum { LINE_MAIL_MAX = 256 };

struct line;

/* On the line's thread. */
struct line_ops {
    /* The port is open: serve it until line_stopping() (then 0) or until it fails (-E…). */
    int (*serve)(void *arg, struct line *l, struct port *p);
    /* The port cannot be opened or was lost; once until it is open again. */
    void (*down)(void *arg, struct line *l, const char *why);
};

struct line {
    const char *name;
    struct port_settings settings;
    const struct line_ops *ops;
    void *arg;
    struct mailbox mail;
    pthread_t thread;
    int wake_fd; /* readable once the line is to stop */
    atomic_bool stopping, ended;
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

/* For the thread itself. */
bool line_stopping(const struct line *l);

#endif
