/* SPDX-License-Identifier: Apache-2.0 */
/* One screen of `sluicectl top`, from two status answers: rates are what has happened between them. */
#ifndef SLUICE_CTL_TOP_VIEW_H
#define SLUICE_CTL_TOP_VIEW_H

#include <stdbool.h>
#include <stdio.h>

struct cJSON;

/* then: NULL, or the answer seconds ago. No more than rows lines, none wider than columns; devices that are
 * not well come first when not all have room. */
void top_view(const struct cJSON *now, const struct cJSON *then, double seconds, unsigned rows,
              unsigned columns, bool colours, FILE *out);

#endif
