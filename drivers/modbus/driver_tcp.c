/* SPDX-License-Identifier: Apache-2.0 */
/* Modbus TCP as a driver: a connection on the loop. */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/driver.h"
#include "drivers/modbus/config.h"
#include "drivers/modbus/front.h"
#include "drivers/modbus/profile_device.h"
#include "drivers/modbus/tcp.h"
#include "drivers/modbus/view.h"
#include "drivers/tap.h"
#include "service.h"

enum { MAIL_MAX = 256 };

struct tcp_line {
    struct modbus_front front;
    struct mailbox mail;
    struct tcp_client *client; /* NULL: stopped */
    struct tap tap;
    struct modbus_view view;
};

static void take(void *line)
{
    struct tcp_line *l = line;

    modbus_front_take(&l->front, &l->mail);
}

static const char *command(void *line, struct command *c, bool only_check)
{
    return modbus_front_command(&((struct tcp_line *)line)->front, c, only_check);
}

static int raw(void *line, struct modbus_raw *raw)
{
    return modbus_front_raw(&((struct tcp_line *)line)->front, raw);
}

static int order(void *arg, struct list *order)
{
    struct tcp_line *l = arg;

    return l->client ? tcp_client_order(l->client, order) : -EAGAIN;
}

static int start(void **out, struct field *f, const struct driver_conf *conf)
{
    struct tcp_line *l = mem_alloc(sizeof *l);

    modbus_front_init(&l->front, f, modbus_line_new_tcp(conf));
    l->front.order = order;
    l->front.order_arg = l;
    mailbox_init(&l->mail, MAIL_MAX, field_wake, f);
    tap_init(&l->tap, field_wake, f);
    l->view = (struct modbus_view){.m = l->front.m, .tcp = true};
    *out = l;
    return tcp_client_new(&l->client, l->front.m, f->gw->net, f->gw->loop, &l->mail, &l->tap);
}

static void stop(void *line)
{
    struct tcp_line *l = line;

    tcp_client_free(l->client);
    l->client = NULL;
}

static bool stopped(void *line)
{
    (void)line;
    return true;
}

static void end(void *line)
{
    struct tcp_line *l = line;

    stop(line);
    take(line);
    modbus_front_end_orders(&l->front);
    modbus_front_end_raws(&l->front);
    mailbox_destroy(&l->mail);
    tap_destroy(&l->tap);
    modbus_front_free(&l->front);
    free(l);
}

static void predict(const struct driver_conf *conf, struct driver_load *out)
{
    struct modbus_line *m = modbus_line_new_tcp(conf);

    modbus_predict(m, out);
    modbus_line_free(m);
}

static void status(void *line, cJSON *lines, cJSON *devices)
{
    modbus_front_status(&((struct tcp_line *)line)->front, "modbus-tcp", lines, devices);
}

static struct modbus_front *modbus(void *line)
{
    return &((struct tcp_line *)line)->front;
}

static struct tap *tap(void *line)
{
    return &((struct tcp_line *)line)->tap;
}

static void view_head(void *line, cJSON *into)
{
    modbus_view_head(&((struct tcp_line *)line)->view, into);
}

static void view(void *line, const struct tap_frame *f, cJSON *into)
{
    modbus_view(&((struct tcp_line *)line)->view, f, into);
}

const struct driver driver_modbus_tcp = {
    .name = "modbus-tcp",
    .device = "modbus",
    .line_rows = modbus_tcp_line_rows,
    .device_rows = modbus_device_rows,
    .expand = modbus_profile_expand,
    .check = modbus_check_tcp,
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
};
