/* SPDX-License-Identifier: Apache-2.0 */
/* Modbus RTU as a driver: a line with a thread that polls. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "drivers/driver.h"
#include "drivers/line.h"
#include "drivers/modbus/config.h"
#include "drivers/modbus/front.h"
#include "drivers/modbus/poller.h"
#include "drivers/modbus/profile_device.h"
#include "drivers/modbus/view.h"
#include "drivers/tap.h"

struct rtu_line {
    struct modbus_front front;
    struct poller *poller;
    struct line line;
    struct tap tap;
    struct modbus_view view;
};

static void take(void *line)
{
    struct rtu_line *r = line;

    modbus_front_take(&r->front, &r->line.mail);
}

static const char *command(void *line, struct command *c, bool only_check)
{
    return modbus_front_command(&((struct rtu_line *)line)->front, c, only_check);
}

static int raw(void *line, struct modbus_raw *raw)
{
    return modbus_front_raw(&((struct rtu_line *)line)->front, raw);
}

static int order(void *arg, struct list *order)
{
    return line_order(arg, order);
}

static void release(struct rtu_line *r)
{
    poller_free(r->poller);
    tap_destroy(&r->tap);
    modbus_front_free(&r->front);
    free(r);
}

static int start(void **out, struct field *f, const struct driver_conf *conf)
{
    struct rtu_line *r = mem_alloc(sizeof *r);

    modbus_front_init(&r->front, f, modbus_line_new(conf));
    r->front.order = order;
    r->front.order_arg = &r->line;
    const struct modbus_line *m = r->front.m;
    r->view = (struct modbus_view){.m = m};
    tap_init(&r->tap, field_wake, f);
    int err = poller_new(&r->poller, m, &r->tap);
    if (!err) {
        r->line.name = m->name;
        r->line.settings =
            (struct port_settings){.spec = m->port, .baud = m->baud, .format = m->format, .rs485 = m->rs485};
        r->line.ops = &poller_ops;
        r->line.arg = r->poller;
        err = line_start(&r->line, field_wake, f);
    }
    if (err) {
        log_error("line %s: cannot start: %s", m->name, strerror(-err));
        release(r);
        return err;
    }
    *out = r;
    return 0;
}

static void predict(const struct driver_conf *conf, struct driver_load *out)
{
    struct modbus_line *m = modbus_line_new(conf);

    modbus_predict(m, out);
    modbus_line_free(m);
}

static void stop(void *line)
{
    line_stop(&((struct rtu_line *)line)->line);
}

static bool stopped(void *line)
{
    return line_ended(&((struct rtu_line *)line)->line);
}

static void end(void *line)
{
    struct rtu_line *r = line;

    struct list left = LIST_INIT(left);

    line_join(&r->line);
    take(r);
    mailbox_take(&r->line.orders, &left);
    for (struct list *it; (it = list_pop(&left));)
        free(list_entry(it, struct modbus_order, link));
    modbus_front_end_orders(&r->front);
    modbus_front_end_raws(&r->front);
    line_free(&r->line);
    release(r);
}

static void status(void *line, cJSON *lines, cJSON *devices)
{
    struct rtu_line *r = line;
    const struct modbus_counts *c = &r->front.counts;
    cJSON *o = modbus_front_status(&r->front, "modbus-rtu", lines, devices);

    cJSON_AddNumberToObject(o, "foreign", (double)c->foreign);
    cJSON_AddNumberToObject(o, "stray", (double)c->stray);
    cJSON_AddNumberToObject(o, "echoes", (double)c->echoes);
    cJSON_AddNumberToObject(o, "late_ms_most", (double)c->late_us_most / 1000);
    struct port_facts facts;
    line_facts(&r->line, &facts);
    port_facts_status(&facts, o);
}

static struct modbus_front *modbus(void *line)
{
    return &((struct rtu_line *)line)->front;
}

static struct tap *tap(void *line)
{
    return &((struct rtu_line *)line)->tap;
}

static void view_head(void *line, cJSON *into)
{
    modbus_view_head(&((struct rtu_line *)line)->view, into);
}

static void view(void *line, const struct tap_frame *f, cJSON *into)
{
    modbus_view(&((struct rtu_line *)line)->view, f, into);
}

static void visit(void *line, struct line_visit v)
{
    line_visit(&((struct rtu_line *)line)->line, v);
}

const struct driver driver_modbus_rtu = {
    .name = "modbus-rtu",
    .device = "modbus",
    .line_rows = modbus_rtu_line_rows,
    .device_rows = modbus_device_rows,
    .expand = modbus_profile_expand,
    .check = modbus_check_rtu,
    .explain = modbus_explain,
    .predict = predict,
    .start = start,
    .command = command,
    .raw = raw,
    .take = take,
    .stop = stop,
    .stopped = stopped,
    .free = end,
    .status = status,
    .modbus = modbus,
    .tap = tap,
    .view_head = view_head,
    .view = view,
    .visit = visit,
};
