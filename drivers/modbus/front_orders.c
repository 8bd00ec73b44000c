/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to points of a line: checked here, carried out by the line, answered here. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/command.h"
#include "drivers/driver.h"
#include "drivers/modbus/front.h"

/* A command whose order the line has. */
struct pending {
    struct list link;
    struct command *command;
    const struct modbus_point *point;
};

struct place {
    unsigned device, group, point;
    const struct modbus_point *at;
};

/* The point of that name; one that can be written before one that cannot. */
static bool find_point(const struct modbus_front *r, const char *name, struct place *p)
{
    const struct modbus_device *d = &r->m->devices[p->device];
    bool found = false;

    for (unsigned g = 0; g < d->group_count; g++)
        for (unsigned i = 0; i < d->groups[g].point_count; i++) {
            const struct modbus_point *at = &d->groups[g].points[i];
            if (strcmp(at->name, name) || (found && !at->write.on))
                continue;
            *p = (struct place){p->device, g, i, at};
            found = true;
        }
    return found;
}

static bool find_device(const struct modbus_front *r, const char *name, struct place *p)
{
    for (p->device = 0; p->device < r->m->device_count; p->device++)
        if (!strcmp(r->m->devices[p->device].name, name))
            return true;
    return false;
}

/* NULL when the value can be written. */
static const char *make_data(const struct command *c, const struct modbus_point *p, uint8_t *data)
{
    struct value v = c->value;
    double number;

    if (p->spec.type->form == FORM_TEXT) {
        size_t len = strlen(c->text);
        if (len > p->spec.length)
            return "out of range";
        v = (struct value){.kind = VALUE_TEXT, .text = c->text, .len = (uint8_t)len};
    }
    int err = value_write(&p->spec, &v, data);
    if (err)
        return err == -ERANGE ? "out of range" : "wrong type";
    number = value_number(&v);
    return number < p->write.least || number > p->write.most ? "out of range" : NULL;
}

static const char *hand_over(struct modbus_front *r, struct command *c, const struct place *at,
                             struct modbus_order *order)
{
    const struct modbus_write *w = &at->at->write;
    struct pending *p = mem_alloc(sizeof *p);

    *p = (struct pending){.command = c, .point = at->at};
    order->command = p;
    order->device = at->device;
    order->group = at->group;
    order->point = at->point;
    order->expires_us = c->came_us + w->expire_us;
    if (c->expires_us && c->expires_us < order->expires_us)
        order->expires_us = c->expires_us;
    if (r->order(r->order_arg, &order->link)) {
        free(p);
        free(order);
        return "too many";
    }
    list_add_tail(&r->orders, &p->link);
    return NULL;
}

const char *modbus_front_command(struct modbus_front *r, struct command *c, bool only_check)
{
    struct modbus_order *order;
    struct place at = {0};

    if (!find_device(r, c->device, &at))
        return command_not_mine;
    if (!find_point(r, c->point, &at))
        return "no such point";
    if (!at.at->write.on)
        return "not writable";
    if (r->known && !r->open)
        return "line down";
    order = mem_alloc(sizeof *order);
    const char *why = make_data(c, at.at, order->data);
    if (!why && !only_check)
        return hand_over(r, c, &at, order);
    free(order);
    return why;
}

void modbus_front_took(struct modbus_front *r, const struct modbus_order *order)
{
    struct pending *p = order->command;
    const struct value_spec *spec = &p->point->spec;
    struct buf verdict = {0};
    char text[VALUE_BYTES_MAX];
    struct value read;
    bool have = order->have_read;

    (void)r;
    if (have && table_is_bits(p->point->table))
        value_read_bit(spec, order->read[0] & 1, &read);
    else if (have)
        have = value_read(spec, order->read, text, &read);
    order_print(&verdict, order->verdict, order->exception);
    list_remove(&p->link);
    command_done(p->command, (const char *)verdict.data, have ? &read : NULL);
    buf_free(&verdict);
    free(p);
}

void modbus_front_end_orders(struct modbus_front *r)
{
    for (struct list *it; (it = list_pop(&r->orders));) {
        struct pending *p = list_entry(it, struct pending, link);
        command_done(p->command, "interrupted", NULL);
        free(p);
    }
}
