/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/control.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "broker/broker.h"
#include "net/conn.h"
#include "net/listener.h"
#include "ops/control_path.h"
#include "service.h"

#define LINE_MAX_BYTES  65536
#define BACKLOG_HIGH    65536
#define CLIENTS_MAX     32
#define CLIENTS_DYING   32 /* refused ones, until their refusal has left */
#define STALLED_AFTER_S 60

struct control_client {
    struct conn conn;
    struct list link;
    struct asker asker;
    struct timer stalled;
    bool waits;   /* for a late answer */
    bool streams; /* and that has many lines */
};

static struct control {
    struct gateway *gw;
    struct listener *listener;
    char *path;
    struct list clients;  /* open ones */
    unsigned open, alive; /* alive: not freed yet */
} control = {.clients = LIST_INIT(control.clients)};

static void send_answer(struct control_client *c, cJSON *answer)
{
    char *text = cJSON_PrintUnformatted(answer);

    if (text) {
        struct buf *out = conn_free_lane(&c->conn);
        buf_append(out, text, strlen(text));
        buf_u8(out, '\n');
    }
    free(text);
    cJSON_Delete(answer);
    timer_start(broker_timers(control.gw->broker), &c->stalled, STALLED_AFTER_S);
}

static cJSON *new_answer(void)
{
    cJSON *answer = cJSON_CreateObject();

    cJSON_AddTrueToObject(answer, "ok");
    return answer;
}

static const struct request *find_in(const struct request *r, const char *name)
{
    while (r && r->name && strcmp(r->name, name) != 0)
        r++;
    return r && r->name ? r : NULL;
}

static const struct request *find_request(const char *name)
{
    const struct request *r = name ? find_in(control_requests, name) : NULL;

    for (const struct service *const *s = services; name && *s && !r; s++)
        r = find_in((*s)->requests, name);
    return r;
}

static void add_names(struct buf *known, const struct request *r)
{
    for (; r && r->name; r++)
        buf_printf(known, "%s%s", known->len ? ", " : "", r->name);
}

static void refuse_unknown(cJSON *answer)
{
    struct buf known = {0};

    add_names(&known, control_requests);
    for (const struct service *const *s = services; *s; s++)
        add_names(&known, (*s)->requests);
    asker_refuse(answer, "what to do is one of %s: {\"do\":\"status\"}", (const char *)known.data);
    buf_free(&known);
}

static void handle_line(struct control_client *c, const char *line, size_t len)
{
    cJSON *asked = cJSON_ParseWithLength(line, len);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(asked, "do"));
    const struct request *r = find_request(name);
    cJSON *answer = new_answer();
    enum asked when = ASKED_NOW;

    c->asker.gone = NULL;
    if (!asked)
        asker_refuse(answer, "this is not one JSON object a line");
    else if (!r)
        refuse_unknown(answer);
    else
        when = r->run(control.gw, &c->asker, asked, answer);
    cJSON_Delete(asked);
    c->waits = when != ASKED_NOW;
    c->streams = when == ASKED_STREAM;
    if (when != ASKED_LATER)
        send_answer(c, answer);
    if (c->waits)
        timer_stop(&c->stalled);
}

/* ---- for who answers ---- */

static void say(struct asker *a, cJSON *line)
{
    struct control_client *c = container_of(a, struct control_client, asker);

    send_answer(c, line);
    if (conn_backlog(&c->conn) <= BACKLOG_HIGH)
        timer_stop(&c->stalled);
}

static void end_answer(struct asker *a)
{
    struct control_client *c = container_of(a, struct control_client, asker);

    c->waits = c->streams = false;
    timer_start(broker_timers(control.gw->broker), &c->stalled, STALLED_AFTER_S);
    conn_pause(&c->conn); /* what it has asked meanwhile is offered anew */
    conn_resume(&c->conn);
}

static bool has_room(const struct asker *a)
{
    return conn_backlog(&container_of(a, struct control_client, asker)->conn) <= BACKLOG_HIGH;
}

static const struct asker_ops asker_ops = {say, end_answer, has_room};

/* From the file itself: another source of names might take as long as it likes. */
static bool find_user(uint32_t uid, char *out, size_t size)
{
    FILE *f = fopen("/etc/passwd", "re");
    struct passwd entry, *found = NULL;
    char room[1024];

    while (f && !fgetpwent_r(f, &entry, room, sizeof room, &found) && found->pw_uid != uid)
        found = NULL;
    if (f)
        fclose(f);
    if (found)
        snprintf(out, size, "%s", found->pw_name);
    return found;
}

static void name_user(struct control_client *c)
{
    struct asker *a = &c->asker;
    uint32_t uid;

    if (!conn_peer_uid(&c->conn, &uid))
        snprintf(a->user, sizeof a->user, "unknown");
    else if (!find_user(uid, a->user, sizeof a->user))
        snprintf(a->user, sizeof a->user, "uid %u", uid);
}

static void end_with_refusal(struct control_client *c, const char *why)
{
    cJSON *answer = new_answer();

    asker_refuse(answer, "%s", why);
    send_answer(c, answer);
    conn_close(&c->conn);
}

static struct control_client *client_of(struct conn *conn)
{
    return container_of(conn, struct control_client, conn);
}

static size_t on_data(struct conn *conn, const uint8_t *data, size_t len)
{
    struct control_client *c = client_of(conn);
    const char *text = (const char *)data, *end;
    size_t used = 0;

    if (c->waits)
        return len > LINE_MAX_BYTES ? len : 0; /* read on, to learn that a stream's reader has gone */
    while ((end = memchr(text + used, '\n', len - used))) {
        size_t line = (size_t)(end - text) - used;
        if (line > LINE_MAX_BYTES)
            break;
        handle_line(c, text + used, line);
        used += line + 1;
        if (c->waits || conn_backlog(conn) > BACKLOG_HIGH) {
            if (!c->streams)
                conn_pause(conn);
            return used;
        }
    }
    if (len - used > LINE_MAX_BYTES)
        end_with_refusal(c, "the line is longer than 65536 bytes");
    return used;
}

static void on_drain(struct conn *conn)
{
    struct control_client *c = client_of(conn);

    if (c->waits) {
        timer_stop(&c->stalled);
        return;
    }
    timer_start(broker_timers(control.gw->broker), &c->stalled, STALLED_AFTER_S);
    conn_resume(conn);
}

static void on_stalled(struct timer *t)
{
    conn_abort(&container_of(t, struct control_client, stalled)->conn);
}

static void on_close(struct conn *conn, const char *why)
{
    struct control_client *c = client_of(conn);

    (void)why;
    timer_stop(&c->stalled);
    list_remove(&c->link);
    control.open--;
    if (c->asker.gone)
        c->asker.gone(c->asker.arg);
    c->asker.gone = NULL;
}

static void on_gone(struct conn *conn)
{
    control.alive--;
    free(client_of(conn));
}

static void on_open(struct conn *conn)
{
    struct control_client *c = client_of(conn);

    timer_start(broker_timers(control.gw->broker), &c->stalled, STALLED_AFTER_S);
}

static const struct conn_events client_events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_drain = on_drain,
    .on_close = on_close,
    .on_gone = on_gone,
};

static void take_client(void *arg, const struct accepted *a)
{
    struct control_client *c = mem_alloc(sizeof(*c));

    (void)arg;
    timer_init(&c->stalled, on_stalled);
    list_init(&c->link);
    if (conn_accept(&c->conn, control.gw->net, a, NULL, &client_events)) {
        free(c);
        return;
    }
    c->conn.high = BACKLOG_HIGH;
    c->asker.ops = &asker_ops;
    name_user(c);
    list_add_tail(&control.clients, &c->link);
    control.open++;
    control.alive++;
    if (control.alive > CLIENTS_MAX + CLIENTS_DYING)
        conn_abort(&c->conn);
    else if (control.open > CLIENTS_MAX)
        end_with_refusal(c, "too many clients of the control socket");
}

static int listen_at(const char *path, struct listener **out)
{
    char *bind = mem_format("unix:%s", path);
    int err = listener_open(out, control.gw->loop, bind, take_client, NULL);

    free(bind);
    return err;
}

static void check(struct conf *c, FILE *report)
{
    char *path = control_path(c);
    size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

    (void)report;
    if (strlen(path) > most)
        conf_error(c, conf_get(conf_root(c), "control"),
                   "the control socket's path %s has %zu bytes, and %zu are the most; name a shorter one: "
                   "control = { socket = \"/run/sluice/control.sock\"; }",
                   path, strlen(path), most);
    free(path);
}

static int start(struct gateway *gw)
{
    control.gw = gw;
    control.path = control_path(gw->conf);
    return listen_at(control.path, &control.listener);
}

static int reload(struct gateway *gw, const struct conf *next)
{
    char *path = control_path(next);
    struct listener *listener = NULL;

    (void)gw;
    int err = strcmp(path, control.path) ? listen_at(path, &listener) : 0;
    if (!listener) {
        free(path);
        return err;
    }
    listener_close(control.listener);
    free(control.path);
    control.listener = listener;
    control.path = path;
    return 0;
}

static void stop(struct gateway *gw)
{
    (void)gw;
    listener_close(control.listener);
    control.listener = NULL;
    /* Not conn_close: a client that holds on to its end would hold up the daemon's. */
    list_for_safe(it, &control.clients) conn_abort(&list_entry(it, struct control_client, link)->conn);
    free(control.path);
    control.path = NULL;
}

static bool stopped(struct gateway *gw)
{
    (void)gw;
    return !control.alive;
}

const struct service service_control = {
    .name = "control",
    .rows = control_rows,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .stopped = stopped,
};
