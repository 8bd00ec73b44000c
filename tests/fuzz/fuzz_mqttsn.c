/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a datagram of MQTT-SN. What decodes, in an envelope or not, says after encoding what it said
 * before, and encodes to itself. */
#include <errno.h>

#include "tests/unit/mqttsn_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

static void survive(const struct mqttsn_packet *p, size_t len)
{
    size_t size = mqttsn_size(&mqttsn_12, p);
    struct mqttsn_packet q;
    uint8_t *out = mem_alloc(size), *copy;

    MUST(size && size <= len); /* never longer than what came */
    MUST(mqttsn_encode(&mqttsn_12, out, p) == size);
    MUST(!sn_decode_exact(out, size, &q, &copy));
    MUST(sn_packets_equal(p, &q));
    mqttsn_set_dup(&mqttsn_12, out, size);
    free(copy);
    MUST(!sn_decode_exact(out, size, &q, &copy));
    free(copy);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqttsn_envelope e;
    struct mqttsn_packet p;
    struct bytes inner;
    uint8_t *copy, head[255];

    int wrapped = mqttsn_unwrap((struct bytes){data, size}, &e, &inner);
    MUST(wrapped == 0 || wrapped == 1 || wrapped == -EBADMSG);
    if (wrapped < 0)
        return 0;
    MUST(inner.data >= data && inner.data + inner.len == data + size);
    if (wrapped) {
        size_t len = mqttsn_wrap(head, &e);
        MUST(len >= 3 && len <= size - inner.len);
    }
    int rc = sn_decode_exact(inner.data, inner.len, &p, &copy);
    MUST(rc == 0 || rc == -EBADMSG || rc == -ENOTSUP);
    if (!rc)
        survive(&p, inner.len);
    free(copy);
    return 0;
}
