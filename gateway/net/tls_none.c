/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the tls files in a build without TLS: no context can be made, so that nothing else is ever
 * called. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/layer.h"
#include "net/tls.h"

static int lacking(char *error, size_t size)
{
    snprintf(error, size, "this build has no TLS (CONFIG_TLS)");
    return -ENOTSUP;
}

int tls_server_new(struct tls_context **out, const struct tls_server_config *config, char *error, size_t size)
{
    (void)out;
    (void)config;
    return lacking(error, size);
}

int tls_client_new(struct tls_context **out, const struct tls_client_config *config, char *error, size_t size)
{
    (void)out;
    (void)config;
    return lacking(error, size);
}

void tls_context_free(struct tls_context *t)
{
    (void)t;
}

struct tls_context *tls_context_ref(struct tls_context *t)
{
    return t;
}

struct layer *tls_layer_new(struct tls_context *context, const char *server_name)
{
    (void)context;
    (void)server_name;
    return NULL;
}

const char *tls_newest(void)
{
    return "";
}
