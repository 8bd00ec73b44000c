/* SPDX-License-Identifier: Apache-2.0 */
/* "blockwrites DIR GROUP COMMITS queued|retained": 100-byte messages put into a queue of 1,000 and taken out
 * of it, or retained over 1,000 topics, GROUP with each commit. Before and after the measured part it syncs,
 * says "begin" or "end" and waits for a line, so that whoever runs it can read the disk's counters; then it
 * prints messages and processor microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/retain.h"
#include "store/store.h"

enum { BACKLOG = 1000, TOPICS = 1000, WARM_UP = 1500 };

static uv_loop_t loop;
static struct store *store;
static struct retain *retained;
static uint64_t head, tail;

static void commit(void)
{
    store_ticket ticket = store_open_ticket(store);

    store_want(store);
    store_submit(store);
    while (store_done_ticket(store) < ticket)
        uv_run(&loop, UV_RUN_ONCE);
}

static void put(unsigned group)
{
    uint8_t message[100] = {0};

    for (unsigned i = 0; i < group; i++)
        store_queue_put(store, 1, tail++, (struct bytes){message, sizeof(message)}, NULL);
}

static void put_and_take(unsigned group)
{
    put(group);
    for (unsigned i = 0; i < group; i++, head++)
        store_queue_remove(store, 1, head, head + 1);
    commit();
}

/* One topic in turn of a thousand, in no order. */
static void retain_new_values(unsigned group)
{
    static uint32_t next;
    uint8_t message[100] = {0};
    char topic[32];

    for (unsigned i = 0; i < group; i++) {
        snprintf(topic, sizeof(topic), "plant/meter/%u", next * 377 % TOPICS);
        memcpy(message, &next, sizeof(next)); /* what stays the same is not written */
        next++;
        struct message m = {
            .topic = bytes_of(topic), .payload = {message, sizeof(message)}, .retain = true, .born_us = 1};
        retain_set(retained, &m, true);
        message_done(&m);
    }
    commit();
}

static void rendezvous(const char *word)
{
    char line[16];

    sync();
    printf("%s\n", word);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(1);
}

static uint64_t processor_us(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + (uint64_t)r.ru_utime.tv_usec +
           (uint64_t)r.ru_stime.tv_usec;
}

int main(int argc, char **argv)
{
    struct store_config config = {
        .linger_idle_ms = 200, .batch_max = 1 << 24, .ballast = 1 << 20, .sync = true};
    struct store_events events = {0};
    struct store_visitor visitor = {0};

    if (argc != 5)
        return 64;
    void (*round)(unsigned group) = strcmp(argv[4], "retained") ? put_and_take : retain_new_values;
    config.dir = argv[1];
    unsigned group = (unsigned)atoi(argv[2]), commits = (unsigned)atoi(argv[3]);
    log_open(LOG_LEVEL_WARN);
    uv_loop_init(&loop);
    if (store_open_sqlite(&store, &loop, &config, &events) || store_load(store, &visitor))
        return 1;
    retained = retain_new(store, TOPICS);
    put(BACKLOG);
    commit();
    retain_new_values(TOPICS);
    for (unsigned i = 0; i < WARM_UP; i++)
        round(group);
    rendezvous("begin");
    uint64_t begin = processor_us();
    for (unsigned i = 0; i < commits; i++)
        round(group);
    uint64_t used = processor_us() - begin;
    rendezvous("end");
    printf("%llu %llu\n", (unsigned long long)commits * group, (unsigned long long)used);
    return store_close(store, 10000) ? 1 : 0;
}
