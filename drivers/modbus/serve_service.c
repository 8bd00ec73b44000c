/* SPDX-License-Identifier: Apache-2.0 */
/* The service `modbus_servers`. After the lines, whose points it shows. */
#include <cjson/cJSON.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/serve.h"
#include "drivers/modbus/serve_source.h"
#include "service.h"

enum { TICK_MS = 1000 };

static struct {
    struct gateway *gw;
    struct list servers;
    uv_timer_t timer;
    bool ticking, closed;
} self;

static void check(struct conf *c, FILE *report)
{
    (void)report;
    serve_check(c, self.gw ? &self.servers : NULL);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
    list_for(it, &self.servers) server_tick(list_entry(it, struct server, link));
}

static int begin(struct gateway *gw)
{
    int err = uv_timer_init(gw->loop, &self.timer);

    self.gw = gw;
    list_init(&self.servers);
    self.ticking = !err;
    return err;
}

/* Only who serves needs to look at the time. */
static void wind(void)
{
    if (list_empty(&self.servers))
        uv_timer_stop(&self.timer);
    else
        uv_timer_start(&self.timer, on_tick, TICK_MS, TICK_MS);
}

static struct server *find(const char *bind)
{
    list_for(it, &self.servers)
    {
        struct server *s = list_entry(it, struct server, link);
        if (!strcmp(s->bind, bind))
            return s;
    }
    return NULL;
}

static int open_missing(struct gateway *gw, const struct conf_node *root)
{
    int worst = 0;

    for (size_t i = 0; i < conf_count(root, "modbus_servers"); i++) {
        const struct conf_node *n = conf_at(root, "modbus_servers", i);
        struct server *s;
        if (find(conf_string(n, "bind")))
            continue;
        int err = server_open(&s, gw, n, root);
        if (err)
            worst = err;
        else
            list_add_tail(&self.servers, &s->link);
    }
    wind();
    return worst;
}

static int start(struct gateway *gw)
{
    int err = begin(gw);

    return err ? err : open_missing(gw, conf_root(gw->conf));
}

static void free_all(struct list *servers)
{
    for (struct list *it; (it = list_pop(servers));)
        server_free(list_entry(it, struct server, link));
}

static const struct conf_node *node_of(const struct conf_node *root, const char *bind)
{
    for (size_t i = 0; i < conf_count(root, "modbus_servers"); i++)
        if (!strcmp(conf_string(conf_at(root, "modbus_servers", i), "bind"), bind))
            return conf_at(root, "modbus_servers", i);
    return NULL;
}

/* True when the place still shows the same point: it may have moved to another group. */
static bool same_source(const struct conf_node *was, const struct conf_node *is, const struct conf_node *at)
{
    struct serve_source a, b;
    char error[256];

    return serve_source_find(was, at, &a, error, sizeof error) &&
           serve_source_find(is, at, &b, error, sizeof error) && !strcmp(a.group->name, b.group->name);
}

static bool same_sources(const struct conf_node *was, const struct conf_node *is, const struct conf_node *n)
{
    for (size_t i = 0; i < conf_count(n, "units"); i++)
        for (size_t k = 0; k < conf_count(conf_at(n, "units", i), "points"); k++)
            if (!same_source(was, is, conf_at(conf_at(n, "units", i), "points", k)))
                return false;
    return true;
}

/* Certificates may have been renewed under the same names. */
static bool stays(const struct conf_node *was, const struct conf_node *is, const char *bind)
{
    const struct conf_node *a = node_of(was, bind), *b = node_of(is, bind);

    return a && b && conf_same(a, b) && !conf_get(b, "tls") && same_sources(was, is, b);
}

static int reload(struct gateway *gw, const struct conf *next)
{
    const struct conf_node *was = conf_root(gw->conf), *root = conf_root(next);
    struct list ended = LIST_INIT(ended);

    list_for_safe(it, &self.servers)
    {
        struct server *s = list_entry(it, struct server, link);
        if (stays(was, root, s->bind))
            continue;
        server_close(s);
        list_remove(&s->link);
        list_add_tail(&ended, &s->link);
    }
    /* These find the values that those before them had. */
    int err = open_missing(gw, root);
    free_all(&ended);
    return err;
}

static void on_closed(uv_handle_t *h)
{
    (void)h;
    self.closed = true;
}

static void stop(struct gateway *gw)
{
    (void)gw;
    if (!self.ticking)
        return;
    list_for(it, &self.servers) server_close(list_entry(it, struct server, link));
    free_all(&self.servers);
    uv_close((uv_handle_t *)&self.timer, on_closed);
}

static bool stopped(struct gateway *gw)
{
    (void)gw;
    return !self.ticking || self.closed;
}

static void status(struct gateway *gw, cJSON *into)
{
    (void)gw;
    if (!self.ticking || list_empty(&self.servers))
        return;
    cJSON *all = cJSON_AddArrayToObject(into, "modbus_servers");
    list_for(it, &self.servers) server_status(list_entry(it, struct server, link), all);
}

const struct service service_modbus_servers = {.name = "modbus_servers",
                                               .rows = serve_rows,
                                               .check = check,
                                               .start = start,
                                               .reload = reload,
                                               .stop = stop,
                                               .stopped = stopped,
                                               .status = status};
