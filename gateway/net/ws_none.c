/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the ws files in a build without WebSocket, whose configurations name none. */
#include "net/layer.h"

struct layer *ws_layer_new(const struct ws_config *config)
{
    (void)config;
    return NULL;
}
