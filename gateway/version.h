/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that names the release: programs print it, status and health carry it. */
#ifndef SLUICE_VERSION_H
#define SLUICE_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
