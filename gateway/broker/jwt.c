/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/jwt.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "codec/mqtt.h"

enum { MEMBERS_MOST = 64 };
static const double LAST_SECOND = 253402300799.0; /* of the year 9999 */

/* ---- the three parts ---- */

/* The part up to a dot, or the last one, which has none. */
static bool take_part(struct bytes *rest, bool last, struct bytes *part)
{
    const uint8_t *dot = rest->len ? memchr(rest->data, '.', rest->len) : NULL;

    if (!dot == !last)
        return false;
    *part = (struct bytes){rest->data, dot ? (size_t)(dot - rest->data) : rest->len};
    if (dot)
        *rest = (struct bytes){dot + 1, rest->len - part->len - 1};
    return true;
}

/* Decoded and as JSON; NULL when it is neither. */
static cJSON *json_of(struct bytes part)
{
    uint8_t *text = mem_alloc(part.len + 1);
    const char *end = NULL;
    cJSON *json = NULL;
    size_t len;

    if (crypto_base64url_decode(part, text, part.len + 1, &len))
        goto out;
    text[len] = 0;
    /* cJSON would end a text at a zero, and takes bytes that are no UTF-8. */
    if (!mqtt_utf8_ok((struct bytes){text, len}) || strstr((const char *)text, "\\u0000"))
        goto out;
    json = cJSON_ParseWithLengthOpts((const char *)text, len, &end, false);
    if (json && (const uint8_t *)end != text + len) {
        cJSON_Delete(json);
        json = NULL;
    }
out:
    free(text);
    return json;
}

/* An object in which no name is there twice: two readers could take two different ones. */
static bool is_plain_object(const cJSON *object)
{
    const cJSON *a, *b;

    if (!cJSON_IsObject(object) || cJSON_GetArraySize(object) > MEMBERS_MOST)
        return false;
    cJSON_ArrayForEach(a, object)
    {
        for (b = a->next; b; b = b->next)
            if (!strcmp(a->string, b->string))
                return false;
    }
    return true;
}

static bool take_algorithm(struct jwt *out)
{
    const char *name = jwt_text(out->header, "alg");

    for (size_t i = 0; name && signature_names[i]; i++) {
        out->kind = (enum signature_kind)i;
        if (!strcmp(name, signature_names[i]))
            return true;
    }
    return false;
}

int jwt_parse(struct jwt *out, struct bytes token, const char **why)
{
    struct bytes rest = token, header, claims, signature;

    memset(out, 0, sizeof(*out));
    *why = "is no token: three parts with dots between them";
    if (token.len > JWT_MOST || !take_part(&rest, false, &header) || !take_part(&rest, false, &claims) ||
        !take_part(&rest, true, &signature))
        return -EINVAL;
    out->data = (struct bytes){token.data, header.len + 1 + claims.len};
    *why = "has a damaged header";
    out->header = json_of(header);
    if (!is_plain_object(out->header))
        return -EINVAL;
    *why = "has none of the algorithms HS256, RS256 and ES256";
    if (!take_algorithm(out))
        return -EINVAL;
    *why = "has a header that must not be ignored (crit)";
    if (cJSON_GetObjectItemCaseSensitive(out->header, "crit"))
        return -EINVAL;
    *why = "has damaged claims";
    out->claims = json_of(claims);
    if (!is_plain_object(out->claims))
        return -EINVAL;
    *why = "has a damaged signature";
    if (!signature.len ||
        crypto_base64url_decode(signature, out->signature, sizeof(out->signature), &out->signature_len))
        return -EINVAL;
    return 0;
}

void jwt_free(struct jwt *t)
{
    cJSON_Delete(t->header);
    cJSON_Delete(t->claims);
    t->header = t->claims = NULL;
}

/* ---- claims ---- */

const char *jwt_text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

bool jwt_has(const struct jwt *t, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(t->claims, name) != NULL;
}

bool jwt_time(const struct jwt *t, const char *name, int64_t *seconds)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(t->claims, name);

    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= LAST_SECOND))
        return false;
    *seconds = (int64_t)item->valuedouble;
    return true;
}

const char *jwt_at(const struct jwt *t, const char *name, int index, bool *wrong)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(t->claims, name);

    if (cJSON_IsArray(item))
        item = cJSON_GetArrayItem(item, index);
    else if (index)
        item = NULL;
    *wrong = item && (!cJSON_IsString(item) || index >= MEMBERS_MOST);
    return *wrong ? NULL : cJSON_GetStringValue(item);
}

bool jwt_names(const struct jwt *t, const char *name, const char *text)
{
    const char *one;
    bool wrong;

    for (int i = 0; (one = jwt_at(t, name, i, &wrong)); i++)
        if (!strcmp(one, text))
            return true;
    return false;
}
