/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { RETRY_FIRST_MS = 250, RETRY_MOST_MS = 5000, LOOK_US = 1000000 };

bool line_stopping(const struct line *l)
{
    return atomic_load(&l->stopping);
}

static void pause_ms(struct line *l, int ms)
{
    struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};

    poll(&p, 1, ms);
}

/* The simulator tells its mistakes one a line. */
static void on_one_line(char *text)
{
    for (char *at = text; (at = strchr(at, '\n'));)
        *at = at[1] ? ' ' : 0;
}

static void set_facts(struct line *l, const struct port_facts *f)
{
    pthread_mutex_lock(&l->facts_lock);
    l->facts = *f;
    pthread_mutex_unlock(&l->facts_lock);
}

void line_facts(struct line *l, struct port_facts *out)
{
    pthread_mutex_lock(&l->facts_lock);
    *out = l->facts;
    pthread_mutex_unlock(&l->facts_lock);
}

void line_look(struct line *l, struct port *p)
{
    uint64_t now = clock_boot_us();

    if (!p->facts.counted || now < l->looked_us + LOOK_US)
        return;
    l->looked_us = now;
    port_facts_count(&p->facts, p->fd);
    set_facts(l, &p->facts);
}

static void tell_open(struct line *l, const struct port *p)
{
    char text[384] = "";

    set_facts(l, &p->facts);
    if (p->facts.known)
        port_facts_text(&p->facts, text, sizeof text);
    log_info("line %s: open on %s%s%s%s", l->name, l->settings.spec, text[0] ? " (" : "", text,
             text[0] ? ")" : "");
    if (p->facts.parity_lost)
        log_info("line %s: %s is a pseudo terminal and carries no parity", l->name, l->settings.spec);
    if (p->facts.rs485_lost[0])
        log_warn("line %s: the driver %s does not keep all of rs485: %s", l->name, p->facts.driver,
                 p->facts.rs485_lost);
}

static void serve_one_port(struct line *l, bool *was_down, int *retry_ms)
{
    struct port port;
    char why[512] = "";
    int err = port_open(&port, &l->settings, why, sizeof why);

    if (!err) {
        tell_open(l, &port);
        *was_down = false;
        *retry_ms = RETRY_FIRST_MS;
        err = l->ops->serve(l->arg, l, &port);
        set_facts(l, &(struct port_facts){0});
        port_close(&port);
        snprintf(why, sizeof why, "%s was lost: %s", l->settings.spec, strerror(-err));
    }
    if (!err || line_stopping(l))
        return;
    on_one_line(why);
    if (!*was_down) {
        log_error("line %s: %s; trying again until it is there", l->name, why);
        l->ops->down(l->arg, l, why);
    }
    *was_down = true;
    l->ops->refuse(l->arg, l);
    pause_ms(l, *retry_ms);
    *retry_ms = *retry_ms * 2 < RETRY_MOST_MS ? *retry_ms * 2 : RETRY_MOST_MS;
}

static void *run(void *arg)
{
    struct line *l = arg;
    bool was_down = false;
    int retry_ms = RETRY_FIRST_MS;

    clock_be_punctual(); /* silences on the wire are a few milliseconds */
    while (!line_stopping(l))
        serve_one_port(l, &was_down, &retry_ms);
    atomic_store(&l->ended, true);
    l->mail.wake(l->mail.wake_arg);
    return NULL;
}

static void signal_fd(const struct line *l, int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("line %s: cannot wake its thread: %s", l->name, strerror(errno));
}

static void on_order(void *arg)
{
    struct line *l = arg;

    signal_fd(l, l->order_fd);
}

int line_order(struct line *l, struct list *order)
{
    return mailbox_post(&l->orders, order);
}

void line_visit(struct line *l, struct line_visit v)
{
    atomic_store(&l->visit, (unsigned long long)v.baud << 8 | (v.format & 15) << 4 | (v.on ? 1u : 0) |
                                (v.listen ? 2u : 0));
    on_order(l);
}

struct line_visit line_visited(const struct line *l)
{
    unsigned long long word = atomic_load(&l->visit);

    return (struct line_visit){
        .on = word & 1, .listen = word & 2, .baud = (uint32_t)(word >> 8), .format = word >> 4 & 15};
}

void line_take_orders(struct line *l, struct list *out)
{
    uint64_t count;

    if (read(l->order_fd, &count, sizeof count) > 0)
        mailbox_take(&l->orders, out);
}

static void close_fds(struct line *l)
{
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->order_fd >= 0)
        close(l->order_fd);
}

int line_start(struct line *l, void (*wake)(void *arg), void *wake_arg)
{
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->order_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0 || l->order_fd < 0) {
        int why = -errno;
        close_fds(l);
        return why;
    }
    pthread_mutex_init(&l->facts_lock, NULL);
    mailbox_init(&l->mail, LINE_MAIL_MAX, wake, wake_arg);
    mailbox_init(&l->orders, LINE_ORDERS_MAX, on_order, l);
    atomic_init(&l->stopping, false);
    atomic_init(&l->ended, false);
    atomic_init(&l->visit, 0);
    l->settings.give_up = &l->stopping;
    int err = pthread_create(&l->thread, NULL, run, l);
    if (err)
        line_free(l);
    return -err;
}

void line_stop(struct line *l)
{
    atomic_store(&l->stopping, true);
    signal_fd(l, l->wake_fd);
}

bool line_ended(const struct line *l)
{
    return atomic_load(&l->ended);
}

void line_join(struct line *l)
{
    pthread_join(l->thread, NULL);
}

void line_free(struct line *l)
{
    mailbox_destroy(&l->mail);
    mailbox_destroy(&l->orders);
    pthread_mutex_destroy(&l->facts_lock);
    close_fds(l);
}
