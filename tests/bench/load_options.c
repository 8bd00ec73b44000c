/* SPDX-License-Identifier: Apache-2.0 */
#include "load_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options opt = {
    .port = 1883, .publishers = 1, .subscribers = 1, .window = 20, .size = 64, .seconds = 5, .prefix = "b"};

static const char usage[] =
    "usage: load [--port P] [--tls] [--pubs N] [--subs N] [--pairs] [--qos Q] [--window W] [--rate R]\n"
    "            [--seconds S] [--count N] [--size B] [--topics N] [--retain] [--receive N] [--persistent]\n"
    "            [--no-ack] [--prefix TEXT] [--go]\n"
    "Publishers to topics that all subscribers take, or with --pairs each to one of its own. --rate 0: "
    "saturated.\n"
    "--count: ends after so many instead of after a time. --receive: subscribers wait for so many.\n"
    "--topics: a publisher goes round so many topics. --no-ack: subscribers acknowledge nothing.\n"
    "--go: when all are connected, prints \"ready\" and waits for a line on standard input; after the\n"
    "report it keeps the connections until standard input ends.\n";

static void refuse(void)
{
    fputs(usage, stderr);
    exit(2);
}

void take_options(int argc, char **argv)
{
    static const struct {
        const char *name;
        int *number;
        uint64_t *count;
        double *real;
        bool *flag;
        const char **text;
    } rows[] = {
        {"port", .number = &opt.port},
        {"pubs", .number = &opt.publishers},
        {"subs", .number = &opt.subscribers},
        {"qos", .number = &opt.qos},
        {"window", .number = &opt.window},
        {"size", .number = &opt.size},
        {"topics", .number = &opt.topics},
        {"count", .count = &opt.count},
        {"receive", .count = &opt.receive},
        {"rate", .real = &opt.rate},
        {"seconds", .real = &opt.seconds},
        {"pairs", .flag = &opt.pairs},
        {"persistent", .flag = &opt.persistent},
        {"retain", .flag = &opt.retain},
        {"no-ack", .flag = &opt.no_ack},
        {"tls", .flag = &opt.tls},
        {"go", .flag = &opt.go},
        {"prefix", .text = &opt.prefix},
    };
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    struct option options[ROWS + 1] = {{0}};

    for (int i = 0; i < ROWS; i++)
        options[i] = (struct option){rows[i].name, rows[i].flag ? 0 : 1, NULL, i};
    for (int i; (i = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (i >= ROWS)
            refuse();
        else if (rows[i].number)
            *rows[i].number = atoi(optarg);
        else if (rows[i].count)
            *rows[i].count = strtoull(optarg, NULL, 10);
        else if (rows[i].real)
            *rows[i].real = atof(optarg);
        else if (rows[i].flag)
            *rows[i].flag = true;
        else
            *rows[i].text = optarg;
    }
    if (opt.size < LEAST_SIZE || opt.size > MOST_SIZE || opt.publishers < 0 || opt.subscribers < 0 ||
        strlen(opt.prefix) > 8 || opt.topics < 0)
        refuse();
    if (opt.pairs && opt.publishers && opt.subscribers)
        opt.subscribers = opt.publishers;
    if (opt.count)
        opt.seconds = 3600;
}
