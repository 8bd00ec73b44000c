/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ledger.h"

#define HAS_BODY 0x80000000U

void ledger_write(struct buf *out, const struct ledger_record *r)
{
    buf_u32(out, (uint32_t)r->data.len | (r->body_id ? HAS_BODY : 0));
    if (r->body_id)
        buf_u64(out, r->body_id);
    buf_append(out, r->data.data, r->data.len);
}

bool ledger_read(struct cursor *c, struct ledger_record *out)
{
    if (c->failed || !cursor_left(c))
        return false;
    uint32_t head = cursor_u32(c);
    out->body_id = head & HAS_BODY ? cursor_u64(c) : 0;
    out->data = cursor_bytes(c, head & ~HAS_BODY);
    /* No writer says so. */
    if (head & HAS_BODY && (!out->body_id || out->body_id > INT64_MAX))
        c->failed = true;
    return !c->failed;
}
