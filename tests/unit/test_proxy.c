/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of the PROXY protocol, and addresses and networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/proxy.h"

#define SIG         "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *bytes;
    size_t len;
    const char *peer; /* NULL: refused */
    const char *name;
} headers[] = {
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883\r\n"), "192.0.2.7:51234", NULL},
    {BYTES("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n"), "[2001:db8::7]:65535", NULL},
    {BYTES("PROXY UNKNOWN\r\n"), "unknown", NULL},
    {BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), "unknown", NULL},
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 51234 65536\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 051 80\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 51234 80 1\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4  192.0.2.7 198.51.100.1 51234 80\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 192.0.2.256 198.51.100.1 51234 80\r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"), NULL, NULL},
    {BYTES("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n"), NULL, NULL},
    {BYTES("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n"), NULL, NULL},
    {BYTES("PROXY \r\n"), NULL, NULL},
    {BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 51234 80\n"), NULL, NULL},
    {BYTES("PROXY\r\n"), NULL, NULL},
    {BYTES("proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n"), NULL, NULL},
    {BYTES("\x10\x0c\x00\x04MQTT"), NULL, NULL},
    {BYTES("\r\n\r\n\0\r\nQUIT\r"), NULL, NULL},
    {BYTES(SIG "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"), "192.0.2.7:51234", NULL},
    {BYTES(
         SIG
         "\x21\x21\x00\x24"
         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x00\x50\x22\xb3"),
     "[2001:db8::7]:80", NULL},
    {BYTES(SIG "\x20\x00\x00\x00"), "unknown", NULL},
    {BYTES(SIG "\x20\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"), "unknown", NULL},
    {BYTES(SIG "\x21\x00\x00\x03xyz"), "unknown", NULL},
    {BYTES(SIG "\x21\x12\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"), "unknown", NULL},
    {BYTES(SIG "\x21\x11\x00\x0b\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22"), NULL, NULL},
    {BYTES(SIG "\x11\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"), NULL, NULL},
    {BYTES(SIG "\x22\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"), NULL, NULL},
    {BYTES(SIG "\x21\x11\xff\xff"), NULL, NULL},
    /* With more: a type unknown to us, and TLS with a verified certificate. */
    {BYTES(SIG "\x21\x11\x00\x20\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"
               "\x04\x00\x01x\x20\x00\x0d\x07\0\0\0\0\x22\x00\x05scada"),
     "192.0.2.7:51234", "scada"},
    {BYTES(SIG "\x21\x11\x00\x1c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"
               "\x20\x00\x0d\x07\0\0\0\1\x22\x00\x05scada"), /* not verified */
     "192.0.2.7:51234", NULL},
    {BYTES(SIG "\x21\x11\x00\x1c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"
               "\x20\x00\x0d\x01\0\0\0\0\x22\x00\x05scada"), /* no certificate */
     "192.0.2.7:51234", NULL},
    {BYTES(SIG "\x21\x11\x00\x1c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3"
               "\x20\x00\x0d\x07\0\0\0\0\x22\x00\x06scada"),
     NULL, NULL},
    {BYTES(SIG "\x21\x11\x00\x0f\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3\x04\x00\x01"), NULL, NULL},
};

/* Parses a copy that ends where it ends. */
static int parse(const void *bytes, size_t len, struct proxy_header *out, char name[64])
{
    uint8_t *copy = mem_alloc(len + 1);
    const char *why = NULL;

    memcpy(copy + 1, bytes, len);
    int size = proxy_parse(copy + 1, len, out, &why);
    assert_true((size < 0) == (why != NULL));
    assert_true(size <= (int)len);
    name[0] = 0;
    if (size > 0 && out->common_name.len) {
        assert_true(out->common_name.len < 64);
        memcpy(name, out->common_name.data, out->common_name.len);
        name[out->common_name.len] = 0;
    }
    free(copy);
    return size;
}

static void reads_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        struct proxy_header h;
        char name[64], peer[64];
        struct buf more = {0};
        buf_append(&more, headers[i].bytes, headers[i].len);
        buf_append(&more, "\x10\x0c", 2);
        int size = parse(more.data, more.len, &h, name);
        if (!headers[i].peer) {
            if (size != -EPROTO)
                fail_msg("header %zu is taken: %d", i, size);
        } else {
            if (size != (int)headers[i].len)
                fail_msg("header %zu: %d", i, size);
            address_text(&h.peer, peer);
            assert_string_equal(peer, headers[i].peer);
            assert_string_equal(name, headers[i].name ? headers[i].name : "");
        }
        buf_free(&more);
    }
}

/* Every beginning of a good header asks for more; of a wrong one it never gives an address. */
static void waits_for_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
        for (size_t len = 0; len < headers[i].len; len++) {
            struct proxy_header h;
            char name[64];
            int size = parse(headers[i].bytes, len, &h, name);
            if (headers[i].peer ? size != 0 : size > 0)
                fail_msg("header %zu, %zu bytes: %d", i, len, size);
        }
}

static void bounds_headers(void **state)
{
    struct buf b = {0};
    struct proxy_header h;
    char name[64];

    (void)state;
    buf_printf(&b, "PROXY UNKNOWN ");
    while (b.len < 106)
        buf_u8(&b, 'x');
    assert_int_equal(parse(b.data, b.len, &h, name), 0);
    buf_u8(&b, 'x');
    assert_int_equal(parse(b.data, b.len, &h, name), -EPROTO);
    b.len = 0;
    buf_append(&b, BYTES(SIG "\x20\x00\x0f\xf0"));
    while (b.len < PROXY_MOST)
        buf_u8(&b, 0);
    assert_int_equal(parse(b.data, b.len, &h, name), PROXY_MOST);
    b.data[15]++;
    assert_int_equal(parse(b.data, b.len, &h, name), -EPROTO);
    buf_free(&b);
}

static const struct {
    const char *network, *address;
    bool has;
} networks[] = {
    {"192.0.2.7", "192.0.2.7", true},        {"192.0.2.7", "192.0.2.8", false},
    {"10.0.0.0/8", "10.255.1.2", true},      {"10.0.0.0/8", "11.0.0.0", false},
    {"192.0.2.128/25", "192.0.2.200", true}, {"192.0.2.128/25", "192.0.2.100", false},
    {"0.0.0.0/0", "203.0.113.1", true},      {"0.0.0.0/0", "2001:db8::1", false},
    {"2001:db8::/33", "2001:db8::1", true},  {"2001:db8::/33", "2001:db8:8000::1", false},
    {"::/0", "2001:db8::1", true},           {"::1", "::1", true},
};

static struct address address_of(const char *text)
{
    struct network n;
    struct address a = {0};

    assert_int_equal(network_parse(text, &n), 0);
    a.family = n.family;
    memcpy(a.ip, n.ip, sizeof(a.ip));
    return a;
}

static void knows_networks(void **state)
{
    static const char *const wrong[] = {"",          "10.0.0.0/33",  "10.0.0.1/8",  "10.0.0.0/",   "10.0.0/8",
                                        "::/129",    "::1/64",       "10.0.0.0/8 ", "10.0.0.0/-1", "*",
                                        "localhost", "10.0.0.0/8/8", "2001:db8::g", "[::1]"};
    struct network n;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
        struct address a = address_of(networks[i].address);
        assert_int_equal(network_parse(networks[i].network, &n), 0);
        if (network_has(&n, &a) != networks[i].has)
            fail_msg("%s in %s", networks[i].address, networks[i].network);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        if (network_parse(wrong[i], &n) != -EINVAL)
            fail_msg("%s is taken", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_headers),
        cmocka_unit_test(waits_for_the_whole),
        cmocka_unit_test(bounds_headers),
        cmocka_unit_test(knows_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
