/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated line from a text, and frames as hex. For the tests of the simulator. */
#ifndef SLUICE_TESTS_SIM_FIXTURE_H
#define SLUICE_TESTS_SIM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/sim/rtu_frame.h"
#include "drivers/sim/sim.h"

struct fixture {
    struct sim *sim;
    uint64_t now_us; /* when the next request may begin */
    struct sim_byte reply[1024];
    size_t len;
    char hex[2049]; /* of reply */
};

static inline void text_to_file(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* line: settings of the line. stations: the list's elements. */
static inline void open_line(struct fixture *f, const char *line, const char *stations)
{
    char path[] = "/tmp/sim_test_XXXXXX", error[2048] = "";
    char *text = mem_format("%s\nstations = (%s);\n", line, stations);
    struct sim_options options = {.seed = 1};

    *f = (struct fixture){.now_us = 1000000};
    text_to_file(path, text);
    if (sim_open_virtual(&f->sim, path, &options, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    unlink(path);
    free(text);
}

static inline size_t from_hex(const char *hex, uint8_t *out)
{
    size_t len = 0;

    for (unsigned byte; sscanf(hex, " %2x", &byte) == 1; len++) {
        hex += strspn(hex, " ") + 2;
        out[len] = (uint8_t)byte;
    }
    return len;
}

/* The master sends the bytes and listens for listen_us. */
static inline void exchange_bytes(struct fixture *f, const uint8_t *request, size_t len, uint64_t listen_us)
{
    f->len =
        sim_exchange(f->sim, f->now_us, request, len, f->now_us + listen_us, f->reply, ARRAY_SIZE(f->reply));
    f->now_us += listen_us;
    f->hex[0] = 0;
    for (size_t i = 0; i < f->len; i++)
        snprintf(f->hex + 2 * i, 3, "%02x", f->reply[i].value);
}

/* The same with a request whose CRC is added. */
static inline void exchange(struct fixture *f, const char *request, uint64_t listen_us)
{
    uint8_t bytes[300];
    size_t len = from_hex(request, bytes);
    uint16_t crc = sim_rtu_crc(bytes, len);

    bytes[len++] = (uint8_t)crc;
    bytes[len++] = (uint8_t)(crc >> 8);
    exchange_bytes(f, bytes, len, listen_us);
}

/* expected: the reply without its CRC, which is checked; "" for none. */
static inline void assert_reply(struct fixture *f, const char *request, const char *expected)
{
    uint8_t want[300], got[1024];
    struct buf sealed = {0};

    exchange(f, request, 1000000);
    size_t len = from_hex(expected, want);
    buf_append(&sealed, want, len);
    if (len)
        sim_rtu_seal(&sealed, 0);
    for (size_t i = 0; i < f->len; i++)
        got[i] = f->reply[i].value;
    assert_int_equal(f->len, sealed.len);
    if (sealed.len)
        assert_memory_equal(got, sealed.data, sealed.len);
    buf_free(&sealed);
}

static inline struct sim_counts counts_of(struct fixture *f)
{
    struct sim_counts counts;

    sim_counts(f->sim, &counts);
    return counts;
}

#endif
