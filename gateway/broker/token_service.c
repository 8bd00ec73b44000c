/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of tokens, and what is wrong with them. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/signature.h"
#include "broker/auth_token.h"
#include "service.h"

enum { FILE_MOST = 16384 };

static const char *const algorithms[] = {"HS256", "RS256", "ES256", NULL};
static const struct conf_row key_rows[] = {
    {"alg", CONF_CHOICE, CONF_REQUIRED, .choices = algorithms,
     .help = "what it signs with; a token that says otherwise is not checked with it"},
    {"file", CONF_PATH, CONF_REQUIRED,
     .help = "a public key (PEM), or for HS256 the secret that the issuer has too, at least 32 bytes"},
    {"kid", CONF_STRING, .min = 1, .max = 256, .help = "the key's name, where tokens tell one"},
    {0},
};
static const struct conf_row token_rows[] = {
    {"keys", CONF_LIST, CONF_REQUIRED, .rows = key_rows, .help = "of those whose tokens are taken"},
    {"audience", CONF_STRINGS, CONF_REQUIRED, .help = "a token must be for one of these (aud)"},
    {"issuer", CONF_STRING, .min = 1, .max = 1024, .help = "and by this one (iss)"},
    {"leeway", CONF_DURATION, .def = "30s", .max = 600000, .help = "how far clocks may differ (exp, nbf)"},
    {"user_claim", CONF_STRING, .def = "sub", .min = 1, .max = 256, .help = "claim that is the user's name"},
    {"client_claim", CONF_STRING, .min = 1, .max = 256,
     .help = "claim that the client identifier must be equal to, in tokens that have it"},
    {"publish_claim", CONF_STRING, .def = "publ", .min = 1, .max = 256,
     .help = "claim with topic filters that the client may publish to"},
    {"subscribe_claim", CONF_STRING, .def = "subs", .min = 1, .max = 256,
     .help = "claim with those that it may subscribe to; without either claim the rules of acl count alone"},
    {"user_name", CONF_STRING, .min = 1, .max = 256,
     .help = "a password behind this user name is a token too, for MQTT 3.1.1, which has none without"},
    {0},
};
static const struct conf_row rows[] = {
    {"tokens", CONF_GROUP, .rows = token_rows,
     .help = "tokens (JWT) that clients give in place of a password"},
    {0},
};

static int read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    int err = f ? 0 : -errno;

    if (err)
        return err;
    buf_grow(out, FILE_MOST + 1);
    out->len = fread(out->data, 1, FILE_MOST, f);
    if (ferror(f))
        err = -EIO;
    fclose(f);
    out->data[out->len] = 0;
    return err;
}

static bool others_can_read(const char *path)
{
    struct stat st;

    return !stat(path, &st) && st.st_mode & 007;
}

int token_key_read(const struct conf_node *key, struct buf *out, const char **why)
{
    const char *path = conf_string(key, "file");
    enum signature_kind kind = (enum signature_kind)conf_int(key, "alg");
    int err = read_file(path, out);

    *why = err ? strerror(-err) : NULL;
    if (!err && kind == SIGNATURE_HS256) {
        while (out->len && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
            out->data[--out->len] = 0; /* of the editor, not of the secret */
        if (others_can_read(path))
            *why = "can be read by everybody; chmod o= it";
    }
    if (!*why)
        *why = signature_key_wrong(kind, (struct bytes){out->data, out->len});
    if (!*why)
        return 0;
    if (out->data)
        explicit_bzero(out->data, out->len);
    buf_free(out);
    return err ? err : -EINVAL;
}

static void check(struct conf *c, FILE *report)
{
    const struct conf_node *tokens = conf_get(conf_root(c), "tokens");
    size_t count = tokens ? conf_count(tokens, "keys") : 0;

    (void)report;
    if (tokens && (!count || count > TOKEN_KEYS_MOST))
        conf_error(c, tokens, "1 to %d keys belong into tokens", TOKEN_KEYS_MOST);
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *key = conf_at(tokens, "keys", i), *file = conf_get(key, "file");
        struct buf text = {0};
        const char *why;
        if (!file || file->blank)
            continue;
        if (token_key_read(key, &text, &why))
            conf_error(c, file, "%s %s", file->s, why);
        if (text.data)
            explicit_bzero(text.data, text.len);
        buf_free(&text);
    }
    if (tokens && !conf_count(tokens, "audience") && conf_get(tokens, "audience") &&
        !conf_get(tokens, "audience")->blank)
        conf_error(c, conf_get(tokens, "audience"),
                   "name at least one audience: whom tokens for this box are for");
}

const struct service service_tokens = {.name = "tokens", .rows = rows, .check = check};
