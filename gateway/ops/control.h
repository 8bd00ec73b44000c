/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: who may open it (its mode is 0660) may see and steer the daemon. One JSON object a line
 * comes in, {"do":"status"}; one a line goes out, {"ok":true,…} or {"ok":false,"error":"…"}, in the same
 * order. What can be asked is a row of a table in control_requests.c. Lines, clients and the answers that
 * wait are bounded; a client that stalls is dropped. Loop thread. */
#ifndef SLUICE_OPS_CONTROL_H
#define SLUICE_OPS_CONTROL_H

struct cJSON;
struct control_client;
struct gateway;

enum { CONTROL_NOW, CONTROL_LATER };

struct control_request {
    const char *name;
    /* CONTROL_NOW: answer is complete. CONTROL_LATER: the client waits until control_answer(). */
    int (*run)(struct gateway *gw, struct control_client *client, const struct cJSON *asked,
               struct cJSON *answer);
};

extern const struct control_request control_requests[]; /* ends with a row without a name */

/* Makes answer a refusal. */
void control_refuse(struct cJSON *answer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The late answer. Takes answer over. */
void control_answer(struct control_client *client, struct cJSON *answer);

/* The client is gone: forget it where a late answer is under way. */
void control_forget(const struct control_client *client);

#endif
