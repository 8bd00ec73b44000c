/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers and places that were chosen when this was built, and their only way into the code: nothing else
 * includes generated/autoconf.h. LIMIT_ is what no configuration file can exceed, DEFAULT_ what holds until
 * one says otherwise, as one would write it there. */
#ifndef SLUICE_BASE_LIMITS_H
#define SLUICE_BASE_LIMITS_H

#include "generated/autoconf.h"

#define LIMIT_CLIENTS CONFIG_MAX_CLIENTS
#define LIMIT_LINES   CONFIG_MAX_LINES
#define LIMIT_DEVICES CONFIG_MAX_DEVICES
#define LIMIT_POINTS  CONFIG_MAX_POINTS
#define LIMIT_PACKET  CONFIG_MAX_PACKET /* bytes of an MQTT packet */

#define DEFAULT_CONFIG       CONFIG_CONFIG_FILE
#define DEFAULT_STATE_DIR    CONFIG_STATE_DIR
#define DEFAULT_PROFILE_PATH CONFIG_PROFILE_PATH
#define DEFAULT_QUEUE_SIZE   CONFIG_QUEUE_SIZE
#define DEFAULT_BRIDGE_SIZE  CONFIG_BRIDGE_SIZE
#define DEFAULT_BRIDGE_AGE   CONFIG_BRIDGE_AGE

#endif
