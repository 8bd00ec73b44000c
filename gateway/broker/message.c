/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

/* What a record's flags say is there; two bits of them are the QoS. */
enum {
    FORMAT = 2,
    FLAG_RETAIN = 1,
    FLAG_PAYLOAD = 2,
    FLAG_EXPIRES = 4,
    QOS_BIT = 3,
    FLAG_BORN = 0x20,
    FLAG_ENCODED = 0x40,
    FLAG_PROPS = 0x80,
    MAX_ENCODERS = 16,
    OFFSET_LASTS_US = 20000,
};

static const struct message_encoder *encoders[MAX_ENCODERS];
static size_t encoder_count;
static bool (*offset_source)(void *arg, uint32_t boot, int64_t *offset_us);
static void *offset_arg;

void message_encoder_add(const struct message_encoder *e)
{
    for (size_t i = 0; i < encoder_count; i++)
        if (encoders[i] == e)
            return;
    if (encoder_count == MAX_ENCODERS)
        abort();
    encoders[encoder_count++] = e;
}

static const struct message_encoder *find_encoder(struct bytes name)
{
    for (size_t i = 0; i < encoder_count; i++)
        if (bytes_equal(bytes_of(encoders[i]->name), name))
            return encoders[i];
    return NULL;
}

void message_offset_source(bool (*source)(void *arg, uint32_t boot, int64_t *offset_us), void *arg)
{
    offset_source = source;
    offset_arg = arg;
}

/* Where the topic goes in a kept message: behind its length, so that both are copied to the wire at once. */
static uint8_t *topic_place(struct message *m)
{
    return (uint8_t *)(m + 1) + 2;
}

static struct message *message_alloc(const struct message *like)
{
    /* All of it is written below. */
    struct message *m =
        mem_resize(NULL, sizeof(*m) + 2 + like->topic.len + like->props.len + like->payload.len);
    uint8_t *at = topic_place(m);

    *m = *like;
    at[-2] = (uint8_t)(like->topic.len >> 8);
    at[-1] = (uint8_t)like->topic.len;
    struct bytes *parts[] = {&m->topic, &m->props, &m->payload};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i]->len)
            memcpy(at, parts[i]->data, parts[i]->len);
        parts[i]->data = at;
        at += parts[i]->len;
    }
    m->refs = 1;
    m->kept = NULL;
    m->wire = (struct bytes){0};
    return m;
}

struct message *message_keep(struct message *m)
{
    if (m->refs) {
        m->refs++;
        return m;
    }
    if (!m->kept) {
        m->kept = message_alloc(m);
        m->made = NULL; /* the copy has it now */
    }
    m->kept->refs++;
    return m->kept;
}

void message_adopt(struct message *borrowed, uint8_t *memory)
{
    struct message like = *borrowed;

    like.payload.len = 0;
    borrowed->kept = message_alloc(&like);
    borrowed->kept->payload = borrowed->payload;
    borrowed->kept->made = memory;
}

void message_drop(struct message *m)
{
    if (!m || --m->refs)
        return;
    free(m->made);
    free(m);
}

void message_done(struct message *borrowed)
{
    if (borrowed->kept)
        message_drop(borrowed->kept);
    else
        free(borrowed->made);
    borrowed->kept = NULL;
    borrowed->made = NULL;
}

struct bytes message_payload(struct message *m)
{
    struct buf out = {0};
    int64_t offset = 0;

    if (!m->encoder)
        return m->payload;
    if (!m->refs && m->kept)
        return message_payload(m->kept);
    if (!m->made) {
        bool known = offset_source && offset_source(offset_arg, m->boot, &offset);
        m->encoder->encode(&out, m->payload, known, offset);
        m->made = out.data ? out.data : mem_alloc(1);
        m->made_len = out.len;
    }
    return (struct bytes){m->made, m->made_len};
}

static int64_t life_us(const struct message *m)
{
    return (m->expiry_s ? (int64_t)m->expiry_s : 1) * 1000000;
}

bool message_expired(const struct message *m)
{
    if (!m->expires || !clock_is_set())
        return false;
    return m->expired || (int64_t)clock_boot_us() - m->born_us >= life_us(m);
}

uint32_t message_left_s(const struct message *m)
{
    int64_t age_s = ((int64_t)clock_boot_us() - m->born_us) / 1000000;

    if (age_s < 0)
        return m->expiry_s;
    return age_s >= (int64_t)m->expiry_s ? 0 : m->expiry_s - (uint32_t)age_s;
}

size_t message_cost(const struct message *m)
{
    return sizeof(*m) + 2 + m->topic.len + m->props.len + m->payload.len + m->made_len;
}

/* When it was born by the wall clock; 0 while that is not set. In a burst the clocks are read once. */
static int64_t born_wall(const struct message *m)
{
    static int64_t offset, read_us;
    static bool set;

    if (!set || m->born_us < read_us || m->born_us - read_us > OFFSET_LASTS_US) {
        read_us = (int64_t)clock_boot_us();
        set = clock_is_set();
        offset = clock_offset_us();
    }
    return set ? m->born_us + offset : 0;
}

void message_write(struct buf *out, const struct message *m, bool with_payload)
{
    int64_t born = born_wall(m);
    bool set = born;

    buf_u8(out, FORMAT);
    buf_u8(out, (uint8_t)((m->retain ? FLAG_RETAIN : 0) | (with_payload ? FLAG_PAYLOAD : 0) |
                          (m->expires ? FLAG_EXPIRES : 0) | m->qos << QOS_BIT | (set ? FLAG_BORN : 0) |
                          (m->encoder ? FLAG_ENCODED : 0) | (m->props.len ? FLAG_PROPS : 0)));
    if (set)
        buf_u64(out, (uint64_t)born);
    if (m->expires)
        buf_u32(out, m->expiry_s);
    if (m->encoder) {
        struct bytes name = bytes_of(m->encoder->name);
        buf_u32(out, m->boot);
        buf_u8(out, (uint8_t)name.len);
        buf_append(out, name.data, name.len);
    }
    buf_u16(out, (uint16_t)m->topic.len);
    buf_append(out, m->topic.data, m->topic.len);
    if (m->props.len) {
        buf_u32(out, (uint32_t)m->props.len);
        buf_append(out, m->props.data, m->props.len);
    }
    if (with_payload)
        buf_append(out, m->payload.data, m->payload.len);
}

/* born_wall_us not above 0: the clock was not set then, so its age is only known while the box has not been
 * rebooted; take it as new, which can make it live longer but never expire early. */
static void set_birth(struct message *m, int64_t born_wall_us)
{
    int64_t now = (int64_t)clock_boot_us();

    m->born_us = now;
    if (born_wall_us > 0 && clock_is_set())
        m->born_us = born_wall_us - clock_offset_us();
    if (m->born_us > now)
        m->born_us = now;
    m->expired = m->expires && now - m->born_us >= life_us(m);
}

/* Its payload lies in body, which it takes over; a record for an encoder is copied. */
static struct message *alloc_over(const struct message *like, struct bytes body)
{
    struct message with = *like, *m;
    uint8_t *memory = (uint8_t *)(uintptr_t)body.data;

    if (like->encoder)
        with.payload = body;
    m = message_alloc(&with);
    if (like->encoder) {
        free(memory);
    } else {
        m->payload = body;
        m->made = memory;
    }
    return m;
}

/* As message_write makes it, all but the payload; false when it is not. */
static bool read_head(struct cursor *c, struct message *like, uint8_t flags, int64_t *born_wall_us)
{
    struct bytes encoder = {0};

    like->qos = flags >> QOS_BIT & 3;
    like->retain = flags & FLAG_RETAIN;
    like->expires = flags & FLAG_EXPIRES;
    *born_wall_us = flags & FLAG_BORN ? (int64_t)cursor_u64(c) : 0;
    like->expiry_s = like->expires ? cursor_u32(c) : 0;
    if (flags & FLAG_ENCODED) {
        like->boot = cursor_u32(c);
        encoder = cursor_bytes(c, cursor_u8(c));
    }
    like->topic = cursor_bytes(c, cursor_u16(c));
    like->props = flags & FLAG_PROPS ? cursor_bytes(c, cursor_u32(c)) : (struct bytes){0};
    if (c->failed || like->qos > 2)
        return false;
    return !(flags & FLAG_ENCODED) || (like->encoder = find_encoder(encoder));
}

/* Before schema 2 of the store. */
static bool read_head_1(struct cursor *c, struct message *like, uint8_t flags, int64_t *born_wall_us)
{
    like->retain = flags & FLAG_RETAIN;
    like->qos = cursor_u8(c);
    like->boot = cursor_u32(c);
    like->expiry_s = cursor_u32(c);
    like->expires = flags & FLAG_EXPIRES || like->expiry_s; /* the oldest have no flag */
    *born_wall_us = (int64_t)cursor_u64(c);
    cursor_u64(c); /* born_us of that run */
    struct bytes encoder = cursor_bytes(c, cursor_u8(c));
    like->topic = cursor_bytes(c, cursor_u16(c));
    like->props = cursor_bytes(c, cursor_u32(c));
    if (c->failed || like->qos > 2)
        return false;
    return !encoder.len || (like->encoder = find_encoder(encoder));
}

static bool (*const heads[])(struct cursor *c, struct message *like, uint8_t flags,
                             int64_t *born_wall_us) = {NULL, read_head_1, read_head};

struct message *message_read(struct bytes record, const struct bytes *body)
{
    struct cursor c = cursor_of(record.data, record.len);
    uint8_t format = cursor_u8(&c), flags = cursor_u8(&c);
    struct message like = {0};
    int64_t born_wall_us;

    if (format >= ARRAY_SIZE(heads) || !heads[format] || !heads[format](&c, &like, flags, &born_wall_us))
        return NULL;
    if (flags & FLAG_PAYLOAD)
        like.payload = cursor_bytes(&c, cursor_left(&c));
    struct message *m = body ? alloc_over(&like, *body) : message_alloc(&like);
    set_birth(m, born_wall_us);
    return m;
}

struct message *message_complete(struct message *m, struct bytes body)
{
    struct message *whole = alloc_over(m, body);

    message_drop(m);
    return whole;
}
