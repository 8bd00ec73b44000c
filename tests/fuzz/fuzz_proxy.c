/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of the PROXY protocol: what is taken is taken with any bytes behind it and asks for more at any
 * place before its end, and names lie within it. */
#include <stdlib.h>

#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const uint8_t *data, size_t size, struct proxy_header *h)
{
    uint8_t *copy = malloc(size ? size : 1);
    const char *why = NULL;

    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    int len = proxy_parse(copy, size, h, &why);
    if ((len < 0) != (why != NULL) || (len > 0 && (size_t)len > size) || len > PROXY_MOST)
        abort();
    if (len > 0 && h->common_name.len &&
        (h->common_name.data < copy || h->common_name.data + h->common_name.len > copy + len))
        abort();
    free(copy);
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h, again;
    char text[64];

    int len = parse(data, size, &h);
    if (len <= 0)
        return 0;
    address_text(&h.peer, text);
    if (parse(data, (size_t)len, &again) != len || again.common_name.len != h.common_name.len)
        abort();
    for (int i = 0; i < len; i++)
        if (parse(data, (size_t)i, &again))
            abort();
    return 0;
}
