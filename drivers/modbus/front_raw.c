/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of others to a line: checked here, carried out by the line, given back here. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/modbus/front.h"
#include "drivers/modbus/raw.h"

static unsigned device_of(const struct modbus_line *m, uint8_t unit)
{
    for (unsigned i = 0; i < m->device_count; i++)
        if (m->devices[i].unit == unit)
            return i;
    return ORDER_NO_DEVICE;
}

static bool is_forbidden(const struct plan_limits *limits, const struct raw_shape *shape)
{
    for (unsigned i = 0; i < shape->range_count; i++)
        for (size_t k = 0; k < limits->forbidden_count; k++) {
            const struct raw_range *r = &shape->ranges[i];
            const struct plan_range *f = &limits->forbidden[k];
            if (r->table == f->table && r->first <= f->last && r->first + r->count > f->first)
                return true;
        }
    return false;
}

/* A function without known ranges may change anything. */
static bool may_write(const struct raw_shape *shape)
{
    bool writes = !shape->range_count;

    for (unsigned i = 0; i < shape->range_count; i++)
        writes = writes || shape->ranges[i].write;
    return writes;
}

int modbus_front_raw(struct modbus_front *r, struct modbus_raw *raw)
{
    unsigned device = device_of(r->m, raw->unit);
    bool serial = r->m->format;
    struct raw_shape shape;

    if (raw_shape((struct bytes){raw->pdu, raw->len}, &shape) ||
        (serial && (raw->unit < 1 || raw->unit > 247)))
        return -EINVAL;
    if (device != ORDER_NO_DEVICE && is_forbidden(&r->m->devices[device].limits, &shape))
        return -EPERM;
    if (r->known && !r->open)
        return -ENOTCONN;
    if (r->raw_count >= RAW_MAX)
        return -EAGAIN;
    raw->writes = may_write(&shape);
    struct modbus_order *order = mem_alloc(sizeof *order);
    *order = (struct modbus_order){.raw = raw, .device = device, .expires_us = raw->expires_us};
    int err = r->order(r->order_arg, &order->link);
    if (err) {
        free(order);
        return err;
    }
    list_add_tail(&r->raws, &raw->link);
    r->raw_count++;
    return 0;
}

static void give_back(struct modbus_front *r, struct modbus_raw *raw, enum order_verdict verdict)
{
    raw->verdict = verdict;
    list_remove(&raw->link);
    r->raw_count--;
    raw->done(raw);
}

void modbus_front_took_raw(struct modbus_front *r, const struct modbus_order *order)
{
    give_back(r, order->raw, order->verdict);
}

void modbus_front_end_raws(struct modbus_front *r)
{
    while (!list_empty(&r->raws))
        give_back(r, list_entry(r->raws.next, struct modbus_raw, link), ORDER_INTERRUPTED);
}
