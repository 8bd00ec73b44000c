/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: who may open it (its mode is 0660) may see and steer the daemon. One JSON object a line
 * comes in, {"do":"status"}; one a line goes out, {"ok":true,…} or {"ok":false,"error":"…"}, in the same
 * order; some requests are answered by many lines, until the client leaves. What can be asked is a row of a
 * table: of control_requests.c, or of a service. Lines, clients and the answers that wait are bounded; a
 * client that stalls is dropped. Loop thread. */
#ifndef SLUICE_OPS_CONTROL_H
#define SLUICE_OPS_CONTROL_H

#include "base/asker.h"

extern const struct request control_requests[]; /* ends with a row without a name */

#endif
