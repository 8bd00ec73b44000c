/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "codec/mqttsn_table.h"

enum { LONG_LENGTH = 0x01, LONG_HEADER = 3, SHORT_MOST = 255, LONG_MOST = 65535, ENVELOPE = 0xfe };

int mqttsn_frame(const uint8_t *data, size_t len, size_t *header, size_t *total)
{
    if (!len)
        return 0;
    *header = data[0] == LONG_LENGTH ? LONG_HEADER : 1;
    if (len < *header)
        return 0;
    *total = *header == 1 ? data[0] : (size_t)(data[1] << 8 | data[2]);
    return *total > *header ? 1 : -EBADMSG;
}

static void take_flags(uint8_t flags, struct mqttsn_packet *out)
{
    out->dup = flags & FLAG_DUP;
    out->qos = (flags & FLAG_QOS) >> 5;
    out->retain = flags & FLAG_RETAIN;
    out->will = flags & FLAG_WILL;
    out->clean = flags & FLAG_CLEAN;
    out->topic = flags & FLAG_TOPIC;
}

static struct bytes take_rest(struct cursor *c)
{
    return cursor_bytes(c, cursor_left(c));
}

static void take_name(struct cursor *c, struct mqttsn_packet *out)
{
    out->text = take_rest(c);
    c->failed |= !out->text.len;
}

static void take_field(struct cursor *c, uint8_t field, uint8_t flags, struct mqttsn_packet *out)
{
    switch (field) {
    case FIELD_FLAGS:
        take_flags(cursor_u8(c) & flags, out);
        c->failed |= out->topic > MQTTSN_SHORT;
        break;
    case FIELD_NUMBER:
        out->number = cursor_u8(c);
        break;
    case FIELD_CODE:
        out->code = cursor_u8(c);
        break;
    case FIELD_DURATION:
        out->duration = cursor_u16(c);
        break;
    case FIELD_TOPIC_ID:
        out->topic_id = cursor_u16(c);
        break;
    case FIELD_ID:
        out->id = cursor_u16(c);
        break;
    case FIELD_TEXT:
        out->text = take_rest(c);
        break;
    case FIELD_NAME:
        take_name(c, out);
        break;
    case FIELD_TOPIC:
        if (out->topic == MQTTSN_NORMAL)
            take_name(c, out);
        else
            out->topic_id = cursor_u16(c);
    }
}

int mqttsn_decode(const struct mqttsn_table *table, struct bytes whole, struct mqttsn_packet *out)
{
    size_t header, total;

    *out = (struct mqttsn_packet){.type = MQTTSN_TYPES};
    if (mqttsn_frame(whole.data, whole.len, &header, &total) != 1 || total != whole.len)
        return -EBADMSG;
    struct cursor c = cursor_of(whole.data + header, total - header);
    uint8_t type = table->types[cursor_u8(&c)];
    if (!type)
        return -ENOTSUP;
    out->type = (uint8_t)(type - 1);
    const struct mqttsn_row *row = &table->rows[out->type];
    for (const uint8_t *field = row->fields; *field != FIELD_END && !out->bare; field++) {
        if (*field == FIELD_OPTIONAL)
            out->bare = !cursor_left(&c);
        else
            take_field(&c, *field, row->flags, out);
    }
    return c.failed || cursor_left(&c) ? -EBADMSG : 0;
}

/* ---- encoding ---- */

static uint8_t *put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put_text(uint8_t *at, struct bytes text)
{
    if (text.len)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

static uint8_t flags_of(const struct mqttsn_packet *p)
{
    return (uint8_t)(p->dup << 7 | (p->qos & 3) << 5 | p->retain << 4 | p->will << 3 | p->clean << 2 |
                     (p->topic & FLAG_TOPIC));
}

static size_t field_size(uint8_t field, const struct mqttsn_packet *p)
{
    switch (field) {
    case FIELD_FLAGS:
    case FIELD_NUMBER:
    case FIELD_CODE:
        return 1;
    case FIELD_DURATION:
    case FIELD_TOPIC_ID:
    case FIELD_ID:
        return 2;
    case FIELD_TOPIC:
        return p->topic == MQTTSN_NORMAL ? p->text.len : 2;
    case FIELD_TEXT:
    case FIELD_NAME:
        return p->text.len;
    default:
        return 0;
    }
}

static uint8_t *put_field(uint8_t *at, uint8_t field, uint8_t flags, const struct mqttsn_packet *p)
{
    switch (field) {
    case FIELD_FLAGS:
        *at = flags_of(p) & flags;
        return at + 1;
    case FIELD_NUMBER:
        *at = p->number;
        return at + 1;
    case FIELD_CODE:
        *at = p->code;
        return at + 1;
    case FIELD_DURATION:
        return put_u16(at, p->duration);
    case FIELD_TOPIC_ID:
        return put_u16(at, p->topic_id);
    case FIELD_ID:
        return put_u16(at, p->id);
    case FIELD_TOPIC:
        return p->topic == MQTTSN_NORMAL ? put_text(at, p->text) : put_u16(at, p->topic_id);
    case FIELD_TEXT:
    case FIELD_NAME:
        return put_text(at, p->text);
    default:
        return at;
    }
}

/* The type and what follows it. */
static size_t body_size(const struct mqttsn_row *row, const struct mqttsn_packet *p)
{
    size_t size = 1;

    for (const uint8_t *field = row->fields; *field != FIELD_END; field++) {
        if (*field == FIELD_OPTIONAL && p->bare)
            break;
        size += field_size(*field, p);
    }
    return size;
}

size_t mqttsn_size(const struct mqttsn_table *table, const struct mqttsn_packet *p)
{
    size_t body = body_size(&table->rows[p->type], p);

    if (body < SHORT_MOST)
        return 1 + body;
    return body <= LONG_MOST - LONG_HEADER ? LONG_HEADER + body : 0;
}

size_t mqttsn_encode(const struct mqttsn_table *table, uint8_t *out, const struct mqttsn_packet *p)
{
    const struct mqttsn_row *row = &table->rows[p->type];
    size_t size = mqttsn_size(table, p);
    uint8_t *at = out;

    if (!size)
        return 0;
    if (size <= SHORT_MOST) {
        *at++ = (uint8_t)size;
    } else {
        *at++ = LONG_LENGTH;
        at = put_u16(at, (uint16_t)size);
    }
    *at++ = row->wire;
    for (const uint8_t *field = row->fields; *field != FIELD_END; field++) {
        if (*field == FIELD_OPTIONAL && p->bare)
            break;
        at = put_field(at, *field, row->flags, p);
    }
    return (size_t)(at - out);
}

void mqttsn_set_dup(const struct mqttsn_table *table, uint8_t *whole, size_t len)
{
    size_t header, total;

    if (mqttsn_frame(whole, len, &header, &total) != 1 || total != len || !table->types[whole[header]])
        return;
    const struct mqttsn_row *row = &table->rows[table->types[whole[header]] - 1];
    if (row->flags & FLAG_DUP && header + 1 < len)
        whole[header + 1] |= FLAG_DUP;
}

/* ---- forwarders ---- */

int mqttsn_unwrap(struct bytes whole, struct mqttsn_envelope *envelope, struct bytes *inner)
{
    size_t header, total;

    *inner = whole;
    if (mqttsn_frame(whole.data, whole.len, &header, &total) != 1 || whole.len <= header ||
        whole.data[header] != ENVELOPE)
        return 0;
    if (total > whole.len)
        return -EBADMSG;
    struct cursor head = cursor_of(whole.data, total);
    cursor_take(&head, header + 1);
    envelope->control = cursor_u8(&head);
    envelope->node = take_rest(&head);
    *inner = (struct bytes){whole.data + total, whole.len - total};
    if (head.failed || envelope->node.len > MQTTSN_NODE_MOST || !inner->len)
        return -EBADMSG;
    if (mqttsn_frame(inner->data, inner->len, &header, &total) == 1 && inner->len > header &&
        inner->data[header] == ENVELOPE)
        return -EBADMSG;
    return 1;
}

size_t mqttsn_wrap(uint8_t *out, const struct mqttsn_envelope *envelope)
{
    size_t size = LONG_HEADER + envelope->node.len;

    out[0] = (uint8_t)size;
    out[1] = ENVELOPE;
    out[2] = envelope->control;
    put_text(out + LONG_HEADER, envelope->node);
    return size;
}
