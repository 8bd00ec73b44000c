/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/timer.h"

struct item {
    struct list link;
    struct map_node node;
    unsigned number;
};

static unsigned number_of(struct list *link)
{
    return list_entry(link, struct item, link)->number;
}

static void test_list(void **state)
{
    struct list a = LIST_INIT(a), b = LIST_INIT(b);
    struct item items[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        items[i].number = i;
        list_init(&items[i].link);
        list_remove(&items[i].link); /* of none is fine */
    }
    assert_null(list_pop(&a));
    list_add_tail(&a, &items[1].link);
    list_add_head(&a, &items[0].link);
    list_add_tail(&b, &items[2].link);
    list_add_tail(&b, &items[3].link);
    list_splice(&a, &b);
    assert_true(list_empty(&b));
    list_splice(&a, &b);
    unsigned next = 0;
    list_for(it, &a) assert_int_equal(number_of(it), next++);
    assert_int_equal(next, 4);
    list_for_safe(it, &a)
    {
        if (number_of(it) % 2)
            list_remove(it);
    }
    assert_int_equal(number_of(list_pop(&a)), 0);
    assert_int_equal(number_of(list_pop(&a)), 2);
    assert_true(list_empty(&a));
}

static bool equal_number(const struct map_node *node, const void *key)
{
    return container_of(node, struct item, node)->number == *(const unsigned *)key;
}

static struct item *find(const struct map *m, unsigned number, uint64_t hash)
{
    struct map_node *n = map_find(m, hash, equal_number, &number);

    return n ? container_of(n, struct item, node) : NULL;
}

static void test_map(void **state)
{
    enum { COUNT = 1000 };
    struct item *items = mem_alloc(COUNT * sizeof(*items));
    struct map m = {0};
    size_t seen = 0;

    (void)state;
    assert_null(find(&m, 1, map_hash_u64(1)));
    for (unsigned i = 0; i < COUNT; i++) {
        items[i].number = i;
        map_insert(&m, &items[i].node, map_hash_u64(i));
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_ptr_equal(find(&m, i, map_hash_u64(i)), &items[i]);
    for (unsigned i = 0; i < COUNT; i += 2)
        map_remove(&m, &items[i].node);
    for (unsigned i = 0; i < COUNT; i++)
        assert_ptr_equal(find(&m, i, map_hash_u64(i)), i % 2 ? &items[i] : NULL);
    for (struct map_node *n = map_next(&m, NULL); n; n = map_next(&m, n))
        seen += container_of(n, struct item, node)->number % 2;
    assert_int_equal(seen, COUNT / 2);
    assert_int_equal(m.count, COUNT / 2);
    map_free(&m);
    assert_null(map_next(&m, NULL));
    free(items);
}

/* Who is there from the first to the last comes once, whoever comes and goes and however the map grows. */
static void test_map_walk(void **state)
{
    enum { COUNT = 3000, STAY = 1000 };
    struct item *items = mem_alloc(COUNT * sizeof(*items));
    unsigned *seen = mem_alloc(COUNT * sizeof(*seen)), next = STAY;
    struct map m = {0};
    uint64_t place = 0;

    (void)state;
    assert_null(map_walk(&m, &place));
    for (unsigned i = 0; i < STAY; i++)
        map_insert(&m, &items[i].node, map_hash_u64(i));
    for (struct map_node *n; (n = map_walk(&m, &place));) {
        seen[container_of(n, struct item, node) - items]++;
        for (int i = 0; i < 3 && next < COUNT; i++, next++) {
            map_insert(&m, &items[next].node, map_hash_u64(next));
            if (next % 2)
                map_remove(&m, &items[next - 1].node);
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(seen[i] == 1 || (i >= STAY && !seen[i]));
    assert_null(map_walk(&m, &place));
    map_free(&m);
    free(items);
    free(seen);
}

/* Nodes whose whole hashes collide are told apart by their keys. */
static void test_map_collisions(void **state)
{
    struct item items[50];
    struct map m = {0};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        items[i].number = i;
        map_insert(&m, &items[i].node, 7);
    }
    map_remove(&m, &items[20].node);
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++)
        assert_ptr_equal(find(&m, i, 7), i == 20 ? NULL : &items[i]);
    map_free(&m);
}

/* The hash sees every byte and the length, wherever the data begin. */
static void test_map_hash(void **state)
{
    uint8_t data[64] = {0}, shifted[65];

    (void)state;
    for (size_t len = 0; len < sizeof(data); len++) {
        uint64_t plain = map_hash(data, len);
        assert_true(plain != map_hash(data, len + 1));
        memcpy(shifted + 1, data, len);
        assert_true(plain == map_hash(shifted + 1, len));
        for (size_t i = 0; i < len; i++) {
            data[i] = 1;
            assert_true(plain != map_hash(data, len));
            data[i] = 0;
        }
    }
}

static void test_buf(void **state)
{
    struct buf b = {0};
    static const uint8_t wanted[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', '7'};

    (void)state;
    buf_u8(&b, 1);
    buf_u16(&b, 0x0203);
    buf_u32(&b, 0x04050607);
    buf_u64(&b, 0x08090a0b0c0d0e0f);
    buf_printf(&b, "x%d", 7);
    assert_int_equal(b.len, sizeof(wanted));
    assert_memory_equal(b.data, wanted, b.len);
    assert_int_equal(b.data[b.len], 0);
    buf_append(&b, NULL, 0);
    buf_consume(&b, 15);
    assert_true(bytes_equal((struct bytes){b.data, b.len}, bytes_of("x7")));
    for (unsigned i = 0; i < 10000; i++)
        buf_u32(&b, i);
    buf_consume(&b, 2);
    struct cursor c = cursor_of(b.data, b.len);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(cursor_u32(&c), i);
    assert_int_equal(cursor_left(&c), 0);
    buf_consume(&b, b.len);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void test_cursor(void **state)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    struct cursor c = cursor_of(data, sizeof(data));

    (void)state;
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16(&c), 0x0203);
    assert_true(cursor_u64(&c) == 0x0405060708090a0b);
    assert_false(c.failed);
    assert_int_equal(cursor_bytes(&c, 0).len, 0);
    assert_false(c.failed);
    assert_int_equal(cursor_u8(&c), 0);
    assert_true(c.failed);

    /* Once failed it stays so and gives zeroes, though bytes are left. */
    c = cursor_of(data, sizeof(data));
    assert_null(cursor_take(&c, SIZE_MAX));
    assert_true(c.failed);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_u32(&c), 0);
    assert_null(cursor_bytes(&c, 1).data);
}

static void test_clock(void **state)
{
    char text[37];

    (void)state;
    clock_format(1795335120123456, text);
    assert_string_equal(text, "2026-11-22T08:12:00.123Z");
    clock_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    uint64_t before = clock_boot_us();
    assert_true(clock_boot_us() >= before);
    clock_boot_id(text);
    assert_int_equal(strlen(text), 36);
}

static void test_mailbox_bounds(void **state)
{
    struct list out = LIST_INIT(out);
    struct mailbox m;
    struct item items[3];

    (void)state;
    mailbox_init(&m, 2, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        items[i].number = i;
        list_init(&items[i].link);
    }
    assert_int_equal(mailbox_post(&m, &items[0].link), 0);
    assert_int_equal(mailbox_post(&m, &items[1].link), 0);
    assert_int_equal(mailbox_post(&m, &items[2].link), -EAGAIN);
    assert_int_equal(mailbox_take(&m, &out), 2);
    assert_int_equal(mailbox_take(&m, &out), 0);
    assert_int_equal(number_of(list_pop(&out)), 0);
    assert_int_equal(number_of(list_pop(&out)), 1);
    assert_int_equal(mailbox_post(&m, &items[2].link), 0);
    assert_int_equal(mailbox_wait(&m, &out, 0), 1);
    assert_int_equal(mailbox_wait(&m, &out, 1), 0); /* a deadline long gone */
    mailbox_destroy(&m);
}

enum { POSTERS = 3, EACH = 20000 };
struct poster {
    pthread_t thread;
    struct mailbox *to;
    unsigned index;
    unsigned refused;
};

static void *post_all(void *arg)
{
    struct poster *p = arg;

    for (unsigned i = 0; i < EACH; i++) {
        struct item *item = mem_alloc(sizeof(*item));
        item->number = p->index * EACH + i;
        while (mailbox_post(p->to, &item->link) != 0) {
            p->refused++;
            sched_yield();
        }
    }
    return NULL;
}

/* Several threads post to one that waits: nothing is lost or doubled, each poster's items keep their order.
 */
static void test_mailbox_threads(void **state)
{
    struct poster posters[POSTERS];
    unsigned next[POSTERS] = {0};
    struct list got = LIST_INIT(got);
    struct mailbox m;
    size_t count = 0;

    (void)state;
    mailbox_init(&m, 64, NULL, NULL);
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.to = &m, .index = i};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    while (count < POSTERS * EACH) {
        size_t taken = mailbox_wait(&m, &got, 0);
        assert_in_range(taken, 1, 64);
        count += taken;
        for (struct list *l; (l = list_pop(&got)) != NULL;) {
            unsigned number = number_of(l);
            assert_int_equal(number % EACH, next[number / EACH]++);
            free(list_entry(l, struct item, link));
        }
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(count, POSTERS * EACH);
    mailbox_destroy(&m);
}

static void count_wake(void *arg)
{
    ++*(unsigned *)arg;
}

/* The taker is woken once for each time that the box was empty. */
static void test_mailbox_wake(void **state)
{
    struct list out = LIST_INIT(out);
    unsigned woken = 0;
    struct item items[3];
    struct mailbox m;

    (void)state;
    mailbox_init(&m, 8, count_wake, &woken);
    mailbox_post(&m, &items[0].link);
    mailbox_post(&m, &items[1].link);
    assert_int_equal(woken, 1);
    mailbox_take(&m, &out);
    mailbox_post(&m, &items[2].link);
    assert_int_equal(woken, 2);
    mailbox_destroy(&m);
}

static unsigned fired;

static void on_fire(struct timer *t)
{
    (void)t;
    fired++;
}

/* The loop sleeps until the first is due, and not at all for those that were stopped. */
static void test_timers(void **state)
{
    struct timers *w;
    struct timer soon, stopped;
    uv_loop_t loop;
    uint64_t begin = clock_boot_us();
    unsigned turns = 0;

    (void)state;
    uv_loop_init(&loop);
    w = timers_new(&loop);
    timer_init(&soon, on_fire);
    timer_init(&stopped, on_fire);
    timer_start(w, &stopped, 100000);
    timer_start(w, &stopped, 300);
    timer_start(w, &soon, 1);
    for (fired = 0; !fired; turns++)
        assert_true(uv_run(&loop, UV_RUN_ONCE));
    assert_true(clock_boot_us() - begin >= 1000000);
    assert_true(turns <= 2);
    assert_false(timer_waits(&soon));
    assert_true(timer_waits(&stopped));
    timer_stop(&stopped);
    timers_close(w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(fired, 1);
}

static void test_log_quota(void **state)
{
    struct log_quota q = {.most = 3};

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        log_may(&q, "test");
    assert_int_equal(q.used, 3);
    assert_int_equal(q.left_out, 7);
    assert_false(log_may(&q, "test"));
    q.minute_us -= 60000000; /* it is over */
    assert_true(log_may(&q, "test"));
    assert_int_equal(q.used, 1);
    assert_int_equal(q.left_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_walk),
        cmocka_unit_test(test_map_collisions),
        cmocka_unit_test(test_map_hash),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_cursor),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_mailbox_bounds),
        cmocka_unit_test(test_log_quota),
        cmocka_unit_test(test_mailbox_wake),
        cmocka_unit_test(test_mailbox_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
