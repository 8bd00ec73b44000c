/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles: a file for each kind of device, with its groups, points, types and limits, so that a site says
 * only which kind it has. This finds one and settles its parameters; it does not know devices
 * (profile_device.h) nor judge addresses and types, which is done where a device uses it. The caller owns
 * what it opens. Any thread. */
#ifndef SLUICE_DRIVERS_MODBUS_PROFILE_H
#define SLUICE_DRIVERS_MODBUS_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/conf.h"

struct profile_parameter {
    const char *name;
    double value;
    bool given; /* not the default */
};

struct profile {
    struct conf *conf; /* may have mistakes */
    char *name;        /* without a version */
    char *file;
    int version;
    struct profile_parameter *parameters;
    size_t parameter_count;
};

/* Opens "NAME" or "NAME@VERSION" of the folders in path (with colons between them). NULL when there is none,
 * with the reason in words in *why, to be freed. */
struct profile *profile_open(const char *path, const char *wanted, char **why);
void profile_free(struct profile *p);

/* NULL, or why the parameter cannot have that value, to be freed. */
char *profile_set(struct profile *p, const char *parameter, double value);

/* With the parameters' values: takes out points whose `when` does not hold, works out scales and offsets.
 * Once. Mistakes go to p->conf. */
void profile_settle(struct profile *p);

/* The path with its relative folders taken from the folder of file. To be freed. */
char *profile_path_resolve(const char *path, const char *file);

/* The names of all profiles in path, sorted, each once; ends with NULL. Free each, then the list. */
char **profile_list(const char *path);

#endif
