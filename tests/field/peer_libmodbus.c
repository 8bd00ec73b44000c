/* SPDX-License-Identifier: Apache-2.0 */
/* libmodbus as a peer in tests.
 *   peer_libmodbus master PORT              asks what stdin says, one request a line: FUNCTION UNIT ADDRESS …
 *   peer_libmodbus server tcp PORT WORD…    unit 1: holding and input registers hold the words, coils
 * alternate peer_libmodbus server rtu TTY WORD… Each answer is a line: "ok VALUE…", "exception N" or "error
 * TEXT". A server says "ready". */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 2000, BITS = 64 };

static void tell(int rc, const unsigned *values, int count)
{
    int code = errno - MODBUS_ENOBASE;

    if (rc < 0 && code > 0 && code <= MODBUS_EXCEPTION_GATEWAY_TARGET)
        printf("exception %d", code);
    else if (rc < 0)
        printf("error %s", modbus_strerror(errno));
    else
        printf("ok");
    for (int i = 0; rc >= 0 && i < count; i++)
        printf(" %u", values[i]);
    printf("\n");
    fflush(stdout);
}

/* ---- master ---- */

static void read_bits(modbus_t *m, int function, int at, int count)
{
    uint8_t bits[MOST];
    unsigned values[MOST];
    int rc = (function == 1 ? modbus_read_bits : modbus_read_input_bits)(m, at, count, bits);

    for (int i = 0; i < count; i++)
        values[i] = bits[i];
    tell(rc, values, count);
}

static void tell_words(int rc, const uint16_t *words, int count)
{
    unsigned values[MOST];

    for (int i = 0; i < count; i++)
        values[i] = words[i];
    tell(rc, values, count);
}

static void read_words(modbus_t *m, int function, int at, int count)
{
    uint16_t words[MOST];

    tell_words((function == 3 ? modbus_read_registers : modbus_read_input_registers)(m, at, count, words),
               words, count);
}

static int write_many(modbus_t *m, int function, int at, const int *values, int count)
{
    uint8_t bits[MOST];
    uint16_t words[MOST];

    for (int i = 0; i < count; i++) {
        bits[i] = values[i] != 0;
        words[i] = (uint16_t)values[i];
    }
    return function == 15 ? modbus_write_bits(m, at, count, bits)
                          : modbus_write_registers(m, at, count, words);
}

/* 23 UNIT ADDRESS COUNT ADDRESS VALUE… */
static void read_write(modbus_t *m, int at, const int *v, int count)
{
    uint16_t in[MOST], out[MOST];

    for (int i = 2; i < count; i++)
        in[i - 2] = (uint16_t)v[i];
    tell_words(modbus_write_and_read_registers(m, v[1], count - 2, in, at, v[0], out), out, v[0]);
}

static void identify(modbus_t *m)
{
    uint8_t id[256];

    tell(modbus_report_slave_id(m, sizeof id, id), NULL, 0);
}

static void ask(modbus_t *m, const int *v, int count)
{
    int function = v[0], at = v[2];

    modbus_set_slave(m, v[1]);
    if (function <= 2)
        read_bits(m, function, at, v[3]);
    else if (function <= 4)
        read_words(m, function, at, v[3]);
    else if (function == 5)
        tell(modbus_write_bit(m, at, v[3]), NULL, 0);
    else if (function == 6)
        tell(modbus_write_register(m, at, (uint16_t)v[3]), NULL, 0);
    else if (function == 15 || function == 16)
        tell(write_many(m, function, at, v + 3, count - 3), NULL, 0);
    else if (function == 17)
        identify(m);
    else if (function == 22)
        tell(modbus_mask_write_register(m, at, (uint16_t)v[3], (uint16_t)v[4]), NULL, 0);
    else
        read_write(m, at, v + 3, count - 3);
}

static int master(int port)
{
    modbus_t *m = modbus_new_tcp("127.0.0.1", port);
    char line[8192];

    if (!m || modbus_connect(m))
        return 1;
    modbus_set_response_timeout(m, 20, 0);
    while (fgets(line, sizeof line, stdin)) {
        int v[256], count = 0;
        for (char *at = strtok(line, " \n"); at && count < 256; at = strtok(NULL, " \n"))
            v[count++] = atoi(at);
        ask(m, v, count);
    }
    modbus_free(m);
    return 0;
}

/* ---- server ---- */

static void serve(modbus_t *m, modbus_mapping_t *map)
{
    uint8_t request[MODBUS_MAX_ADU_LENGTH];
    int len;

    while ((len = modbus_receive(m, request)) >= 0 || errno == EMBBADCRC || errno == ETIMEDOUT)
        if (len > 0)
            modbus_reply(m, request, len, map);
}

static int server(const char *kind, const char *place, char **words, int count)
{
    modbus_mapping_t *map = modbus_mapping_new(BITS, BITS, count, count);
    modbus_t *m = !strcmp(kind, "tcp") ? modbus_new_tcp("127.0.0.1", atoi(place))
                                       : modbus_new_rtu(place, 19200, 'N', 8, 1);

    for (int i = 0; i < count; i++)
        map->tab_registers[i] = map->tab_input_registers[i] = (uint16_t)atoi(words[i]);
    for (int i = 0; i < BITS; i++)
        map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
    modbus_set_slave(m, 1);
    bool tcp = !strcmp(kind, "tcp");
    int s = tcp ? modbus_tcp_listen(m, 1) : modbus_connect(m);
    if (s < 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    if (!tcp)
        serve(m, map);
    while (tcp && modbus_tcp_accept(m, &s) >= 0)
        serve(m, map);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "master"))
        return master(atoi(argv[2]));
    if (argc > 4 && !strcmp(argv[1], "server"))
        return server(argv[2], argv[3], argv + 4, argc - 4);
    return 2;
}
