/* SPDX-License-Identifier: Apache-2.0 */
/* A row of the ledger of any bytes, and the messages in its records. What is read, written again, is what was
 * read. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/message.h"
#include "store/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(struct bytes record)
{
    struct message *m = message_read(record, NULL);
    struct buf out = {0};

    if (!m)
        return;
    if (m->qos > 2 || m->topic.len > 65535 || m->topic.len + m->props.len + m->payload.len > record.len)
        abort();
    message_write(&out, m, true);
    struct message *again = message_read((struct bytes){out.data, out.len}, NULL);
    if (!again || !bytes_equal(again->topic, m->topic) || !bytes_equal(again->props, m->props) ||
        !bytes_equal(again->payload, m->payload) || again->qos != m->qos || again->retain != m->retain ||
        again->expires != m->expires || again->expiry_s != m->expiry_s)
        abort();
    message_drop(again);
    /* The same without its payload, which then comes apart. */
    out.len = 0;
    message_write(&out, m, false);
    again = message_read((struct bytes){out.data, out.len}, NULL);
    if (!again || again->payload.len)
        abort();
    uint8_t *body = mem_alloc(5);
    again = message_complete(again, (struct bytes){body, 5});
    if (again->payload.len != 5 || !bytes_equal(again->topic, m->topic))
        abort();
    message_drop(again);
    message_drop(m);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* ends where the row ends */
    struct ledger_record record;
    struct buf back = {0};

    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    struct cursor c = cursor_of(exact, size);
    size_t at = 0;
    while (ledger_read(&c, &record)) {
        at += ledger_size(&record);
        ledger_write(&back, &record);
        check_message(record.data);
    }
    if (at != back.len || at > size || (!c.failed && at != size) || (at && memcmp(back.data, exact, at)))
        abort();
    free(exact);
    buf_free(&back);
    return 0;
}
