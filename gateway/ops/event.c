/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/event.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "service.h"

void event_stamp(cJSON *what)
{
    char now[32];

    clock_format(clock_wall_us(), now);
    cJSON_AddStringToObject(what, "t", now);
    if (!clock_is_set())
        cJSON_AddStringToObject(what, "clk", "unset");
}

void event_publish_json(struct gateway *gw, const char *path, const cJSON *what, unsigned char qos)
{
    char *topic = mem_format("%s/%s", gw->root, path);
    char *text = cJSON_PrintUnformatted(what);

    if (text)
        broker_publish_bytes(gw->broker, topic, bytes_of(text), qos, false);
    free(text);
    free(topic);
}

void event_publish(struct gateway *gw, const char *kind, cJSON *what)
{
    char *path = mem_format("event/%s", kind);

    event_stamp(what);
    event_publish_json(gw, path, what, 1);
    cJSON_Delete(what);
    free(path);
}
