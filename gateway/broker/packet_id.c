/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/packet_id.h"

static const struct {
    uint16_t first, span;
} lanes[] = {[LANE_ALONE] = {1, 65535}, [LANE_NORMAL] = {1, 65000}, [LANE_URGENT] = {65001, 500}};

uint16_t packet_id_of(const struct session *s, uint64_t seq)
{
    return (uint16_t)(lanes[s->lane].first + seq % lanes[s->lane].span);
}

uint64_t packet_id_span(const struct session *s)
{
    return lanes[s->lane].span;
}

bool session_has_id(const struct session *s, uint16_t id)
{
    return id >= lanes[s->lane].first && id - lanes[s->lane].first < lanes[s->lane].span;
}

struct delivery *packet_id_find(const struct session *s, uint16_t id)
{
    if (!s->queue->flight.count || !session_has_id(s, id))
        return NULL;
    uint32_t span = lanes[s->lane].span, place = id - lanes[s->lane].first;
    uint64_t first = deliveries_at(&s->queue->flight, 0)->seq;
    uint64_t seq = first + (place + span - (uint32_t)(first % span)) % span;
    uint32_t low = 0, high = s->queue->flight.count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint64_t at = deliveries_at(&s->queue->flight, middle)->seq;
        if (at == seq)
            return deliveries_at(&s->queue->flight, middle);
        if (at < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Just behind the oldest in flight: the numbers that publishing will come to last. */
uint16_t session_free_id(const struct session *s, uint16_t last)
{
    uint64_t from = s->queue->flight.count ? deliveries_at(&s->queue->flight, 0)->seq
                                           : s->queue->loaded - s->queue->ready.count;

    if (!last)
        last = packet_id_of(s, from);
    do
        last = last == 1 ? 65535 : (uint16_t)(last - 1);
    while (packet_id_find(s, last));
    return last;
}
