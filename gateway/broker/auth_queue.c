/* SPDX-License-Identifier: Apache-2.0 */
/* Logins that take long, on their way to the pool and back. Those that show the very same share one place in
 * the queue and one result: so a plant whose machines all have one user is let in at once after a restart,
 * too. */
#include <stdlib.h>
#include <string.h>

#include "broker/auth_private.h"

static bool key_equal(const struct map_node *n, const void *key)
{
    return crypto_equal(container_of(n, const struct auth_login, by_key)->key, key, CRYPTO_SHA256_LEN);
}

/* Who shows the same and is on its way already. */
static struct auth_login *find_leader(const struct auth *a, const struct auth_login *l)
{
    uint64_t hash = map_hash(l->key, CRYPTO_SHA256_LEN);
    struct map_node *n = l->has_key ? map_find(&a->leaders, hash, key_equal, l->key) : NULL;

    return n ? container_of(n, struct auth_login, by_key) : NULL;
}

static void lead(struct auth_login *l)
{
    if (l->has_key)
        map_insert(&l->auth->leaders, &l->by_key, map_hash(l->key, CRYPTO_SHA256_LEN));
}

static void lead_no_more(struct auth_login *l)
{
    if (l->has_key)
        map_remove(&l->auth->leaders, &l->by_key);
}

static void free_all(struct auth_login *l)
{
    for (struct list *it; (it = list_pop(&l->followers));)
        auth_login_free(list_entry(it, struct auth_login, queued));
    auth_login_free(l);
}

static void on_work(uv_work_t *work)
{
    struct auth_login *l = container_of(work, struct auth_login, work);

    l->backend->work(l);
}

static void run_next(struct auth *a);

static void on_worked(uv_work_t *work, int status)
{
    struct auth_login *l = container_of(work, struct auth_login, work);
    struct list joined = LIST_INIT(joined);
    struct auth *a = l->auth;
    bool is_right = l->is_right;

    a->running--;
    l->on_pool = false;
    lead_no_more(l);
    if (a->stopping || status) {
        free_all(l);
        return;
    }
    run_next(a);
    list_splice(&joined, &l->followers);
    auth_conclude(l);
    for (struct list *it; (it = list_pop(&joined));) {
        struct auth_login *follower = list_entry(it, struct auth_login, queued);
        a->counts.cached += is_right;
        follower->is_right = is_right;
        auth_conclude(follower);
    }
}

static void run_next(struct auth *a)
{
    struct list *next;

    while (a->running < a->most_running && (next = auth_places_next(a->places))) {
        struct auth_login *l = list_entry(next, struct auth_login, queued);
        a->counts.waiting--;
        a->running++;
        l->on_pool = true;
        uv_queue_work(a->loop, &l->work, on_work, on_worked);
    }
}

static void enqueue(struct auth_login *l)
{
    lead(l);
    auth_place_queue(l->place, &l->queued);
    l->auth->counts.waiting++;
}

/* Half of the queue at most is for one address. */
static bool has_room(const struct auth *a, const struct auth_login *l)
{
    return a->counts.waiting < a->most_waiting && auth_place_waiting(l->place) < (a->most_waiting + 1) / 2;
}

bool auth_queue_add(struct auth_login *l)
{
    struct auth *a = l->auth;
    struct auth_login *leader = find_leader(a, l);

    if (leader) {
        list_add_tail(&leader->followers, &l->queued);
        l->follows = true;
        return true;
    }
    if (!has_room(a, l))
        return false;
    enqueue(l);
    run_next(a);
    return true;
}

/* The first of those who follow it takes its place. */
static void hand_over(struct auth_login *l)
{
    struct list *it = list_pop(&l->followers);

    if (!it)
        return;
    struct auth_login *next = list_entry(it, struct auth_login, queued);
    next->follows = false;
    list_splice(&next->followers, &l->followers);
    enqueue(next);
}

void auth_queue_cancel(struct auth_login *l)
{
    l->done = NULL;
    if (l->on_pool)
        return; /* it is given up when it comes back */
    if (l->follows) {
        list_remove(&l->queued);
    } else if (!list_empty(&l->queued)) {
        auth_place_unqueue(l->place, &l->queued);
        l->auth->counts.waiting--;
        lead_no_more(l);
        hand_over(l);
    }
    auth_login_free(l);
}

void auth_queue_stop(struct auth *a)
{
    struct list *next;

    while ((next = auth_places_next(a->places))) {
        struct auth_login *l = list_entry(next, struct auth_login, queued);
        lead_no_more(l);
        free_all(l);
    }
    a->counts.waiting = 0;
}
