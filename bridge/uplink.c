/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an uplink: tries, waits, keeps alive, gives up, ends. */
#include "bridge/uplink.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "bridge/uplink_private.h"
#include "bridge/wire.h"
#include "service.h"

enum {
    TICK_MS = 1000,
    SECOND = 1000000, /* µs */
    STABLE_S = 30,    /* a connection that lasted so long starts the back-off anew */
    WITHHELD_S = 60,  /* after which what was not acknowledged is asked for again, by a new connection */
};

static void set_state(struct uplink *u, enum uplink_state state)
{
    bool turned = (u->state == UPLINK_CONNECTED) != (state == UPLINK_CONNECTED) || !u->turned;

    u->since = clock_boot_us();
    if (turned) {
        u->turned = u->since;
        u->turned_wall = clock_wall_us();
    }
    u->state = state;
}

static const struct url *url_in_use(const struct uplink *u)
{
    return &u->settings->urls[u->url];
}

struct buf *uplink_free_lane(struct uplink *u)
{
    u->spoke_at = clock_boot_us();
    return conn_free_lane(&u->attempt->conn);
}

struct buf *uplink_held_lane(struct uplink *u, store_ticket ticket)
{
    u->spoke_at = clock_boot_us();
    return conn_held_lane(&u->attempt->conn, ticket);
}

static uint16_t own_id(struct uplink *u)
{
    u->last_id =
        u->last_id < LANE_FREE_ID || u->last_id == UINT16_MAX ? LANE_FREE_ID : (uint16_t)(u->last_id + 1);
    return u->last_id;
}

/* ---- the end of an attempt ---- */

/* Nobody listens to the attempt any more; it frees itself when net has buried it. */
static struct conn *let_go(struct uplink *u)
{
    struct conn *c = u->attempt ? &u->attempt->conn : NULL;

    if (u->state == UPLINK_CONNECTED)
        lanes_detach(&u->lanes);
    if (u->attempt)
        u->attempt->uplink = NULL;
    u->attempt = NULL;
    list_remove(&u->waiter.link);
    uv_timer_stop(&u->timer);
    uv_timer_stop(&u->again);
    return c;
}

static uint32_t random_bits(void)
{
    uint32_t bits = 0;

    while (getrandom(&bits, sizeof(bits), 0) < 0 && errno == EINTR)
        ;
    return bits;
}

/* Chooses the next url and says how long to wait: nothing while urls of this round are untried. */
static uint32_t next_try(struct uplink *u, bool was_connected)
{
    if (was_connected && clock_boot_us() - u->since >= (uint64_t)STABLE_S * SECOND)
        backoff_reset(&u->backoff);
    u->url = was_connected ? 0 : (u->url + 1) % u->settings->url_count;
    if (u->url && !was_connected)
        return 0;
    bool slow = u->refused;
    u->refused = false;
    return slow ? backoff_slow(&u->backoff, random_bits()) : backoff_next(&u->backoff, random_bits());
}

static void try_now(struct uplink *u);

static void on_retry(uv_timer_t *timer)
{
    try_now(container_of(timer, struct uplink, timer));
}

/* Once a change: a fault of a url that lasts is not told again. */
static void tell_fault(struct uplink *u, size_t url, const char *text, bool was_connected, uint32_t wait_ms)
{
    bool known = !was_connected && u->faults[url] && !strcmp(u->faults[url], text);

    free(u->fault);
    free(u->faults[url]);
    u->fault = mem_format("%s: %s", u->settings->urls[url].text, text);
    u->faults[url] = mem_strdup(text);
    char *next =
        wait_ms ? mem_format("next try in %.1f s", wait_ms / 1000.0) : mem_strdup("the next url now");
    log_line(known ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "bridge %s: %s%s; %s, %llu messages wait",
             u->settings->name, was_connected ? "lost " : "", u->fault, next,
             (unsigned long long)lanes_backlog(&u->lanes));
    free(next);
}

void uplink_lost(struct uplink *u, bool mend, const char *fmt, ...)
{
    bool was_connected = u->state == UPLINK_CONNECTED;
    size_t url = u->url;
    va_list args;

    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    struct conn *c = let_go(u);
    if (c)
        conn_abort(c);
    u->refused |= mend;
    u->counts.losses += was_connected;
    uint32_t wait_ms = next_try(u, was_connected);
    tell_fault(u, url, text, was_connected, wait_ms);
    free(text);
    set_state(u, UPLINK_WAITING);
    uv_timer_start(&u->timer, on_retry, wait_ms, 0);
}

/* ---- struct conn_events ---- */

static struct uplink *uplink_of(struct conn *c)
{
    return container_of(c, struct attempt, conn)->uplink;
}

static void on_open(struct conn *c)
{
    struct uplink *u = uplink_of(c);
    char error[512];

    if (!u)
        return;
    char *password = settings_password(u->settings, error, sizeof(error));
    if (error[0]) {
        uplink_lost(u, true, "%s", error);
        return;
    }
    set_state(u, UPLINK_GREETING);
    bool sent =
        wire_connect(uplink_free_lane(u), u->settings, password, broker_limits(u->gw->broker)->packet);
    free(password);
    if (!sent)
        uplink_lost(u, true, "CONNECT cannot be written: client_id, user, password or presence are too long");
}

static size_t on_data(struct conn *c, const uint8_t *data, size_t len)
{
    struct uplink *u = uplink_of(c);

    return u ? uplink_hear(u, data, len) : len;
}

static void on_drain(struct conn *c)
{
    struct uplink *u = uplink_of(c);

    if (u)
        lanes_wake(&u->lanes);
}

static void on_close(struct conn *c, const char *why)
{
    struct uplink *u = uplink_of(c);

    if (!u)
        return;
    const char *when = u->state == UPLINK_GREETING ? " before it answered CONNECT" : "";
    uplink_lost(u, false, "%s%s", why ? why : "closed", when);
}

static void on_gone(struct conn *c)
{
    struct attempt *a = container_of(c, struct attempt, conn);

    list_remove(&a->link);
    a->ends->alive--;
    free(a);
}

static const struct conn_events events = {on_open, on_data, on_drain, on_close, on_gone};

/* ---- while there is a connection ---- */

/* A quarter early, so that a late tick does not exceed what we promised ([MQTT-3.1.2-23]). */
static bool is_silent(const struct uplink *u, uint64_t now)
{
    uint64_t most = (uint64_t)u->peer.keepalive_s * SECOND * 3 / 4;

    return most && (now - u->heard_at >= most || now - u->spoke_at >= most);
}

/* How long PINGRESP may take. */
static uint64_t ping_limit(const struct uplink *u)
{
    uint64_t half = (uint64_t)u->peer.keepalive_s * SECOND / 2, ack = (uint64_t)u->settings->ack_ms * 1000;

    return half < SECOND ? SECOND : half < ack ? half : ack;
}

static void keep_alive(struct uplink *u, uint64_t now)
{
    if (u->ping_at && now - u->ping_at >= ping_limit(u)) {
        uplink_lost(u, false, "no PINGRESP for %.0f s", (double)(now - u->ping_at) / SECOND);
    } else if (!u->ping_at && is_silent(u, now)) {
        u->ping_at = now;
        wire_bare(uplink_free_lane(u), MQTT_PINGREQ, u->settings->version);
    }
}

/* Something is in flight: acknowledgements must come, or at least bytes must go. */
static void watch_progress(struct uplink *u, uint64_t now)
{
    size_t backlog = conn_backlog(&u->attempt->conn);

    if (!lanes_in_flight(&u->lanes) || backlog < u->backlog)
        u->progress_at = now;
    u->backlog = backlog;
    if (now - u->progress_at >= (uint64_t)u->settings->ack_ms * 1000)
        uplink_lost(u, false, "%u messages in flight and no acknowledgement for %.0f s",
                    (unsigned)lanes_in_flight(&u->lanes), (double)(now - u->progress_at) / SECOND);
    else if (u->withheld_at && now - u->withheld_at >= (uint64_t)WITHHELD_S * SECOND)
        uplink_lost(u, false, "what a full queue here refused is asked for again");
}

static void watch(struct uplink *u, uint64_t now)
{
    struct attempt *attempt = u->attempt;

    if (u->paused) { /* we do not read: the upstream's silence is ours */
        u->heard_at = u->progress_at = now;
        u->ping_at = 0;
        return;
    }
    keep_alive(u, now);
    if (u->attempt == attempt)
        watch_progress(u, now);
    if (u->attempt == attempt)
        lanes_wake(&u->lanes); /* if a read of the disk has failed meanwhile */
}

static void on_tick(uv_timer_t *timer)
{
    struct uplink *u = container_of(timer, struct uplink, timer);
    uint64_t now = clock_boot_us();

    if (u->state == UPLINK_CONNECTED)
        watch(u, now);
    else if (u->state == UPLINK_GREETING && now - u->tried_at >= (uint64_t)u->settings->connect_ms * 1000)
        uplink_lost(u, false, "no answer to CONNECT within %.0f s", u->settings->connect_ms / 1000.0);
}

static void try_now(struct uplink *u)
{
    const struct url *url = url_in_use(u);
    struct conn_target target = {
        .host = url->host,
        .port = url->port,
        .tls = url->tls ? u->settings->tls : NULL,
        .server_name = u->settings->server_name,
        .timeout_ms = u->settings->connect_ms,
    };
    struct attempt *a = mem_alloc(sizeof(*a));

    a->uplink = u;
    a->ends = u->ends;
    list_init(&a->link);
    u->tried_at = clock_boot_us();
    int err = conn_connect(&a->conn, u->gw->net, &target, &events);
    if (err) {
        free(a);
        uplink_lost(u, false, "%s", strerror(-err));
        return;
    }
    u->ends->alive++;
    u->attempt = a;
    u->skip = 0;
    u->paused = false;
    set_state(u, UPLINK_CONNECTING);
    uv_timer_start(&u->timer, on_tick, TICK_MS, TICK_MS);
}

/* An upstream without our session may use identifiers anew: what we remember of the old ones would make us
 * take new messages for repeats. */
static void forget_inbound(struct uplink *u)
{
    struct session *s = u->lanes.normal;
    store_ticket ticket;

    while (s->queue->inbound_count)
        session_inbound_done(s, s->queue->inbound[0], &ticket);
}

static void announce(struct uplink *u)
{
    if (!u->settings->remap.presence)
        return;
    u->presence_id = own_id(u);
    wire_presence(uplink_free_lane(u), u->settings, true, u->fault ? u->fault : "started", u->peer.retain,
                  u->presence_id);
}

/* A subscription made again brings the retained messages again (before MQTT 5): so only where it is new. */
static void subscribe(struct uplink *u)
{
    bool known = u->peer.session_present && u->subscribed == u->url + 1;

    if (u->stale_count && u->peer.session_present) {
        u->unsubscribe_id = own_id(u);
        wire_unsubscribe(uplink_free_lane(u), u->stale, u->stale_count, u->settings->version,
                         u->unsubscribe_id);
    }
    if (known || !u->settings->remap.in_count)
        return;
    u->subscribe_id = own_id(u);
    if (!wire_subscribe(uplink_free_lane(u), u->settings, u->subscribe_id))
        log_error("bridge %s: SUBSCRIBE cannot be written: the filters are too long", u->settings->name);
}

static void forget_faults(struct uplink *u)
{
    for (size_t i = 0; i < u->settings->url_count; i++) {
        free(u->faults[i]);
        u->faults[i] = NULL;
    }
}

void uplink_connected(struct uplink *u)
{
    const char *cipher = conn_cipher(&u->attempt->conn);

    set_state(u, UPLINK_CONNECTED);
    u->heard_at = u->spoke_at = u->progress_at = u->since;
    u->ping_at = u->withheld_at = 0;
    u->presence_id = u->subscribe_id = u->unsubscribe_id = 0;
    u->backlog = 0;
    u->counts.connects++;
    u->refused = false;
    forget_faults(u);
    if (!u->peer.session_present)
        forget_inbound(u);
    log_info("bridge %s: connected to %s%s%s, %llu messages wait", u->settings->name, url_in_use(u)->text,
             *cipher ? ", " : "", cipher, (unsigned long long)lanes_backlog(&u->lanes));
    announce(u);
    subscribe(u);
    uplink_session_attach(u);
}

/* ---- start, change, end ---- */

static bool takes(const struct remap *r, const char *filter)
{
    for (size_t i = 0; i < r->in_count; i++)
        if (!strcmp(r->in[i].match, filter))
            return true;
    return false;
}

/* The upstream's session would go on sending what no rule wants any more. */
static void note_stale(struct uplink *u, const struct remap *old, const struct remap *now)
{
    u->stale = mem_resize(u->stale, (u->stale_count + old->in_count + 1) * sizeof(*u->stale));
    for (size_t i = 0; i < old->in_count; i++)
        if (!takes(now, old->in[i].match))
            u->stale[u->stale_count++] = mem_strdup(old->in[i].match);
    for (size_t i = 0; i < u->stale_count;) {
        if (takes(now, u->stale[i])) {
            free(u->stale[i]);
            u->stale[i] = u->stale[--u->stale_count];
        } else {
            i++;
        }
    }
}

/* Ends what there is: in order, when the upstream listens. */
static void say_goodbye(struct uplink *u, const char *reason)
{
    bool listens = u->state == UPLINK_CONNECTED;

    if (listens && u->settings->remap.presence)
        wire_presence(uplink_free_lane(u), u->settings, false, reason, u->peer.retain, own_id(u));
    if (listens)
        wire_bare(uplink_free_lane(u), MQTT_DISCONNECT, u->settings->version);
    if (listens)
        list_add_tail(&u->ends->leaving, &u->attempt->link);
    struct conn *c = let_go(u);
    if (c && listens)
        conn_close(c);
    else if (c)
        conn_abort(c);
}

void uplink_hurry(struct uplink_ends *ends)
{
    for (struct list *it; (it = list_pop(&ends->leaving));)
        conn_abort(&list_entry(it, struct attempt, link)->conn);
}

static void use_settings(struct uplink *u, struct settings *settings)
{
    if (u->settings)
        forget_faults(u);
    free(u->faults);
    settings_free(u->settings);
    u->settings = settings;
    u->faults = mem_alloc(settings->url_count * sizeof(*u->faults));
    u->backoff = (struct backoff){settings->backoff_min_ms, settings->backoff_max_ms, 0};
}

struct uplink *uplink_start(struct gateway *gw, struct settings *settings, struct uplink_ends *ends)
{
    struct uplink *u = mem_alloc(sizeof(*u));
    int err;

    u->gw = gw;
    u->ends = ends;
    list_init(&u->waiter.link);
    use_settings(u, settings);
    if ((err = lanes_open(&u->lanes, gw->broker, settings))) {
        log_error("bridge %s: no session for its queue: %s", settings->name, strerror(-err));
        settings_free(settings);
        free(u->faults);
        free(u);
        return NULL;
    }
    ends->alive++;
    uv_timer_init(gw->loop, &u->timer);
    uv_timer_init(gw->loop, &u->again);
    u->open_timers = 2;
    set_state(u, UPLINK_WAITING);
    uv_timer_start(&u->timer, on_retry, 0, 0);
    return u;
}

void uplink_change(struct uplink *u, struct settings *settings, bool anew)
{
    if (!anew) { /* rules and urls are the same, so what refers to them stays right */
        size_t url = u->url;
        struct backoff backoff = u->backoff;
        use_settings(u, settings);
        u->url = url;
        u->backoff = backoff;
        return;
    }
    say_goodbye(u, "the configuration changed");
    note_stale(u, &u->settings->remap, &settings->remap);
    use_settings(u, settings);
    u->url = 0;
    u->subscribed = 0;
    u->refused = false;
    lanes_open(&u->lanes, u->gw->broker, u->settings); /* cannot fail: it has a session */
    log_info("bridge %s: configured anew, %llu messages wait", settings->name,
             (unsigned long long)lanes_backlog(&u->lanes));
    set_state(u, UPLINK_WAITING);
    uv_timer_start(&u->timer, on_retry, 0, 0);
}

static void release(struct uplink *u)
{
    forget_faults(u);
    while (u->stale_count)
        free(u->stale[--u->stale_count]);
    free(u->stale);
    free(u->faults);
    free(u->fault);
    free(u->subscription_fault);
    buf_free(&u->topic);
    buf_free(&u->props);
    settings_free(u->settings);
    free(u);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct uplink *u = h->data;

    if (--u->open_timers)
        return;
    u->ends->alive--;
    release(u);
}

void uplink_stop(struct uplink *u, const char *reason)
{
    say_goodbye(u, reason);
    set_state(u, UPLINK_STOPPED);
    u->timer.data = u->again.data = u;
    uv_close((uv_handle_t *)&u->timer, on_timer_closed);
    uv_close((uv_handle_t *)&u->again, on_timer_closed);
}

void uplink_remove(struct uplink *u)
{
    uint64_t dropped = lanes_backlog(&u->lanes);

    uplink_stop(u, "the bridge was removed");
    lanes_end(&u->lanes);
    log_line(dropped ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
             "bridge %s: removed; %llu messages that waited are dropped", u->settings->name,
             (unsigned long long)dropped);
}

const struct settings *uplink_settings(const struct uplink *u)
{
    return u->settings;
}
