/* SPDX-License-Identifier: Apache-2.0 */
/* "blockwrites DIR GROUP COMMITS": 100-byte messages put into a queue of 1,000 and taken out of it, GROUP
 * with each commit. Before and after the measured part it syncs, says "begin" or "end" and waits for a line,
 * so that whoever runs it can read the disk's counters; then it prints messages and processor microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "store/store.h"

enum { BACKLOG = 1000, WARM_UP = 1500 };

static uv_loop_t loop;
static struct store *store;
static uint64_t head, tail;

static void put_and_take(unsigned group, bool take)
{
    uint8_t message[100] = {0};

    for (unsigned i = 0; i < group; i++)
        store_queue_put(store, 1, tail++, (struct bytes){message, sizeof(message)}, NULL);
    for (unsigned i = 0; take && i < group; i++, head++)
        store_queue_remove(store, 1, head, head + 1);
    store_ticket ticket = store_open_ticket(store);
    store_want(store);
    store_submit(store);
    while (store_done_ticket(store) < ticket)
        uv_run(&loop, UV_RUN_ONCE);
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

    if (argc != 4)
        return 64;
    config.dir = argv[1];
    unsigned group = (unsigned)atoi(argv[2]), commits = (unsigned)atoi(argv[3]);
    log_open(LOG_LEVEL_WARN);
    uv_loop_init(&loop);
    if (store_open_sqlite(&store, &loop, &config, &events) || store_load(store, &visitor))
        return 1;
    put_and_take(BACKLOG, false);
    for (unsigned i = 0; i < WARM_UP; i++)
        put_and_take(group, true);
    rendezvous("begin");
    uint64_t begin = processor_us();
    for (unsigned i = 0; i < commits; i++)
        put_and_take(group, true);
    uint64_t used = processor_us() - begin;
    rendezvous("end");
    printf("%llu %llu\n", (unsigned long long)commits * group, (unsigned long long)used);
    return store_close(store, 10000) ? 1 : 0;
}
