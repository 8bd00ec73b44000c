/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN as a driver: the line's life. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "drivers/field.h"
#include "drivers/mqttsn/gateway.h"
#include "service.h"

enum {
    PLACES_MOST = 4096,
    ANSWERS_PER_S = 50, /* DISCONNECTs to strangers of one address */
    STOP_MS = 500       /* how long the last acknowledgements may wait for the disk at the end */
};

static void on_advertise(struct timer *t)
{
    struct sn_line *l = container_of(t, struct sn_line, advertise);

    line_advertise(l);
    timer_start(broker_timers(l->b), t, l->settings->advertise_s);
}

/* Whoever publishes at QoS -1 has no id; what rules say of those without one is asked. */
static void bind_stranger(struct sn_line *l)
{
    const char *why;

    identity_free(l->stranger);
    l->stranger = l->settings->user ? identity_of_port(l->settings->user) : NULL;
    if (auth_bind(l->auth, &l->stranger, (struct bytes){0}, true, &why))
        log_warn("line %s: messages of QoS -1: %s", l->settings->name, why);
}

static struct sn_line *line_new(struct field *f, const struct driver_conf *conf)
{
    struct sn_line *l = mem_alloc(sizeof(*l));

    l->field = f;
    l->b = f->gw->broker;
    l->auth = f->gw->auth;
    l->root = f->gw->root;
    l->settings = sn_settings_new(conf->line, f->gw->root);
    l->since_us = clock_boot_us();
    list_init(&l->motes);
    list_init(&l->awake);
    list_init(&l->held);
    for (size_t rank = 0; rank < OUT_RANKS; rank++)
        list_init(&l->ready[rank]);
    l->rates = places_new(f->gw->loop, PLACES_MOST, 1000, sizeof(struct place));
    places_limit(l->rates, l->settings->rate);
    l->answers = places_new(f->gw->loop, PLACES_MOST, 1000, sizeof(struct place));
    places_limit(l->answers, ANSWERS_PER_S);
    timer_init(&l->advertise, on_advertise);
    tap_init(&l->tap, field_wake, f);
    l->flusher.flush = line_flush;
    net_add_flusher(f->gw->net, &l->flusher);
    return l;
}

/* On a wire that is slow an answer takes as long as it is, and waits for what others say: four of the longest
 * packets and a second, at least. */
static void set_retry(struct sn_line *l, const struct conf_node *retry)
{
    uint64_t longest_us = l->link->kind->airtime_us(l->link, l->link->most);
    uint32_t least_s = (uint32_t)((4 * longest_us + 1999999) / 1000000);

    if (longest_us && (!retry->given || l->settings->retry_s < least_s))
        l->settings->retry_s = least_s;
}

static void end(void *line);

static int start(void **out, struct field *f, const struct driver_conf *conf)
{
    struct sn_line *l = line_new(f, conf);
    const struct sn_settings *s = l->settings;
    struct link_node *nodes = sn_nodes(conf);
    struct link_settings settings = sn_link_settings(conf->line);
    char why[256];

    settings.nodes = nodes;
    settings.node_count = conf->device_count;
    int err = link_kind_of(s->port)->open(&l->link, f->gw->loop, &settings, why, sizeof(why));
    free(nodes);
    if (err) {
        log_error("line %s: %s", s->name, why);
        l->link = NULL;
        end(l);
        return err;
    }
    l->link->events = &sn_link_events;
    l->link->arg = l;
    set_retry(l, conf_get(conf->line, "retry"));
    bind_stranger(l);
    line_restore(l);
    if (s->advertise_s)
        on_advertise(&l->advertise);
    log_info("line %s: motes at %s", s->name, s->port);
    *out = l;
    return 0;
}

static void stop(void *line)
{
    struct sn_line *l = line;

    l->closing = true;
    l->stop_by_us = clock_boot_us() + STOP_MS * 1000;
    timer_stop(&l->advertise);
}

static bool stopped(void *line)
{
    const struct sn_line *l = line;

    return !line_holds(l) || clock_boot_us() > l->stop_by_us;
}

static void end(void *line)
{
    struct sn_line *l = line;

    list_for_safe(it, &l->motes) mote_leave(list_entry(it, struct mote, in_line), LEAVE_STOP);
    line_drop_output(l);
    list_remove(&l->flusher.link);
    timer_stop(&l->advertise);
    if (l->link)
        l->link->kind->close(l->link);
    identity_free(l->stranger);
    places_free(l->rates);
    places_free(l->answers);
    map_free(&l->by_peer);
    tap_destroy(&l->tap);
    sn_settings_free(l->settings);
    free(l);
}

/* The rules have changed. */
static void review(void *line)
{
    struct sn_line *l = line;
    const char *why;

    bind_stranger(l);
    list_for_safe(it, &l->motes)
    {
        struct mote *m = list_entry(it, struct mote, in_line);
        if (auth_bind(l->auth, &m->who, mote_id(m), true, &why)) {
            const struct mqttsn_packet bye = {.type = MQTTSN_DISCONNECT, .bare = true};
            mote_send(m, &bye, 0);
            mote_leave(m, LEAVE_LOST);
            continue;
        }
        struct actor a = mote_actor(m);
        if (m->session)
            actor_review(&a, m->session);
    }
}

static void status(void *line, cJSON *lines, cJSON *devices)
{
    cJSON *o = cJSON_CreateObject();

    (void)devices;
    line_status(line, o);
    cJSON_AddItemToArray(lines, o);
}

static void motes(void *line, cJSON *into)
{
    line_motes(line, into);
}

static struct tap *tap(void *line)
{
    return &((struct sn_line *)line)->tap;
}

static void view_head(void *line, cJSON *into)
{
    line_view_head(line, into);
}

static void view(void *line, const struct tap_frame *f, cJSON *into)
{
    line_view(line, f, into);
}

const struct driver driver_mqttsn = {
    .name = "mqtt-sn",
    .device = "mqtt-sn",
    .line_rows = sn_line_rows,
    .device_rows = sn_device_rows,
    .check = sn_check,
    .start = start,
    .review = review,
    .stop = stop,
    .stopped = stopped,
    .free = end,
    .status = status,
    .peers = motes,
    .tap = tap,
    .view_head = view_head,
    .view = view,
};
