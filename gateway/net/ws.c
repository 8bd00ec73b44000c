/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ws.h"

#include <stdlib.h>
#include <strings.h>
#include <wslay/wslay.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "net/http.h"

enum { KEY_LEN = 16, CONTROL_MOST = 125, FIN = 0x80 };

/* ---- the opening request ---- */

static bool refuse(struct buf *answer, unsigned status, const char *fields, const char *why, const char **out)
{
    http_answer(answer, status, fields, why);
    *out = why;
    return false;
}

static bool is_text(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_of(text));
}

/* "localhost:8080", "127.0.0.1", "[::1]:8080". */
static bool is_loopback(struct bytes host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        size_t len = strlen(names[i]);
        if (host.len >= len && !strncasecmp((const char *)host.data, names[i], len) &&
            (host.len == len || host.data[len] == ':'))
            return true;
    }
    return false;
}

/* A browser tells what page it acts for; without a list, only the host's own pages may connect, so that no
 * other page can use a listener that trusts whoever reaches it. Nor can one whose name has been made to point
 * to loopback. */
static bool origin_ok(const struct http_head *h, const struct ws_config *config)
{
    struct bytes origin, host;

    if (!http_field(h, "Origin", &origin))
        return true;
    for (char **o = config->origins; o && *o; o++)
        if (!strcmp(*o, "*") ||
            (origin.len == strlen(*o) && !strncasecmp((const char *)origin.data, *o, origin.len)))
            return true;
    if (config->origins || !http_field(h, "Host", &host) || origin.len < host.len + 3)
        return false;
    if (config->local && !is_loopback(host))
        return false;
    const char *end = (const char *)origin.data + origin.len - host.len;
    return !memcmp(end - 3, "://", 3) && !strncasecmp(end, (const char *)host.data, host.len);
}

static bool key_ok(const struct http_head *h, struct bytes *key)
{
    uint8_t raw[KEY_LEN];
    char text[32];
    size_t len;

    if (http_field(h, "Sec-WebSocket-Key", key) != 1 || key->len >= sizeof(text))
        return false;
    memcpy(text, key->data, key->len);
    text[key->len] = 0;
    return !crypto_base64_decode(text, raw, sizeof(raw), &len) && len == sizeof(raw);
}

/* §4.2.2: proves that we have read the key as one of WebSocket. */
static char *accept_of(struct bytes key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t hash[CRYPTO_MOST_LEN];
    struct buf text = {0};

    buf_append(&text, key.data, key.len);
    buf_append(&text, guid, sizeof(guid) - 1);
    crypto_digest(CRYPTO_SHA1, text.data, text.len, hash);
    buf_free(&text);
    return crypto_base64(hash, crypto_hash_len(CRYPTO_SHA1));
}

static const char *subprotocol(const struct http_head *h)
{
    static const char *const known[] = {"mqtt",
                                        "mqttv3.1"}; /* the second: what clients before 3.1.1 ask for */

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (http_has_word(h, "Sec-WebSocket-Protocol", known[i], false))
            return known[i];
    return NULL;
}

bool ws_answer(const struct http_head *h, const struct ws_config *config, struct buf *answer,
               const char **why)
{
    static const char upgrade[] =
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    struct bytes version = {0}, key;

    if (!is_text(http_path(h), WS_PATH))
        return refuse(answer, 404, "", "nothing is here; MQTT over WebSocket is at " WS_PATH, why);
    if (strcmp(http_method(h), "GET"))
        return refuse(answer, 405, "Allow: GET\r\n", "only GET opens a WebSocket", why);
    if (!http_has_word(h, "Upgrade", "websocket", true) || !http_has_word(h, "Connection", "upgrade", true))
        return refuse(answer, 426, upgrade, "this place speaks MQTT over WebSocket alone", why);
    if (!http_is_1_1(h))
        return refuse(answer, 505, "", "WebSocket needs HTTP/1.1", why);
    if (http_field(h, "Sec-WebSocket-Version", &version) != 1 || !is_text(version, "13"))
        return refuse(answer, 426, upgrade, "the WebSocket version is not 13", why);
    if (http_field(h, "Host", NULL) != 1 || !key_ok(h, &key))
        return refuse(answer, 400, "", "no Host or no Sec-WebSocket-Key, or wrong ones", why);
    if (!origin_ok(h, config))
        return refuse(answer, 403, "", "pages of this origin may not connect (listener option origins)", why);
    const char *protocol = subprotocol(h);
    if (!protocol) /* [MQTT-6.0.0-3] */
        return refuse(answer, 400, "", "the subprotocol mqtt is not offered", why);
    char *accept = accept_of(key);
    buf_printf(answer,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
               accept, protocol);
    free(accept);
    return true;
}

/* ---- frames to the peer ---- */

static void head(struct buf *out, uint8_t opcode, size_t len)
{
    buf_u8(out, FIN | opcode);
    if (len < 126) {
        buf_u8(out, (uint8_t)len);
    } else if (len < 65536) {
        buf_u8(out, 126);
        buf_u16(out, (uint16_t)len);
    } else {
        buf_u8(out, 127);
        buf_u64(out, len);
    }
}

void ws_binary(struct buf *out, size_t len)
{
    head(out, WSLAY_BINARY_FRAME, len);
}

void ws_close(struct buf *out, uint16_t code)
{
    bool without = code == WS_NO_CODE;

    head(out, WSLAY_CONNECTION_CLOSE, without ? 0 : 2);
    if (!without)
        buf_u16(out, code);
}

/* ---- frames of the peer ---- */

/* One that has begun. The library's part has room for what it reads, so it lives no longer than the frame. */
struct ws_frame {
    wslay_frame_context_ptr context;
    struct cursor *in;
    size_t fed;  /* bytes that it was given, since it was made */
    size_t done; /* of them, those of frames that are over */
    uint64_t got;
    uint8_t opcode, control_len;
    bool begun; /* its head is known */
    uint8_t control[CONTROL_MOST];
};

static ssize_t give(uint8_t *out, size_t size, int flags, void *arg)
{
    struct ws_frame *f = arg;
    size_t len = cursor_left(f->in) < size ? cursor_left(f->in) : size;

    (void)flags;
    if (!len)
        return -1;
    memcpy(out, cursor_take(f->in, len), len);
    f->fed += len;
    return (ssize_t)len;
}

static const struct wslay_frame_callbacks callbacks = {.recv_callback = give};

static struct ws_frame *frame_new(void)
{
    struct ws_frame *f = mem_alloc(sizeof(*f));

    if (wslay_frame_context_init(&f->context, &callbacks, f))
        abort();
    return f;
}

static void frame_free(struct ws_frame *f)
{
    if (!f)
        return;
    wslay_frame_context_free(f->context);
    free(f);
}

void ws_stream_free(struct ws_stream *s)
{
    frame_free(s->frame);
    s->frame = NULL;
    buf_free(&s->pong);
}

static void fail(struct ws_stream *s, uint16_t code, const char *why)
{
    s->close = code;
    s->why = why;
}

/* The head of a frame: may it come now? */
static void begin(struct ws_stream *s, const struct wslay_frame_iocb *io)
{
    struct ws_frame *f = s->frame;

    f->begun = true;
    f->opcode = io->opcode;
    f->got = 0;
    f->control_len = 0;
    if (io->rsv)
        fail(s, WS_PROTOCOL_ERROR, "a frame of an extension that was not agreed on");
    else if (!io->mask)
        fail(s, WS_PROTOCOL_ERROR, "a frame that is not masked");
    else if (wslay_is_ctrl_frame(io->opcode) && (!io->fin || io->payload_length > CONTROL_MOST))
        fail(s, WS_PROTOCOL_ERROR, "a control frame that is too long or in pieces");
    else if (io->opcode == WSLAY_TEXT_FRAME)
        fail(s, WS_UNSUPPORTED, "a text message where only binary ones may be"); /* [MQTT-6.0.0-1] */
    else if (io->opcode == WSLAY_CONTINUATION_FRAME && !s->in_message)
        fail(s, WS_PROTOCOL_ERROR, "a continuation of nothing");
    else if (io->opcode == WSLAY_BINARY_FRAME && s->in_message)
        fail(s, WS_PROTOCOL_ERROR, "a new message within another");
    else if (io->opcode > WSLAY_BINARY_FRAME && io->opcode < WSLAY_CONNECTION_CLOSE)
        fail(s, WS_PROTOCOL_ERROR, "a frame of a kind that does not exist");
    else if (!wslay_is_ctrl_frame(io->opcode))
        s->in_message = !io->fin;
}

/* §7.4: codes that may stand in a Close. */
static bool is_code(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static void on_close(struct ws_stream *s, struct bytes body)
{
    struct cursor c = cursor_of(body.data, body.len);
    uint16_t code = body.len ? cursor_u16(&c) : WS_NO_CODE;

    if (body.len && (c.failed || !is_code(code)))
        fail(s, WS_PROTOCOL_ERROR, "a Close without a proper reason");
    else
        s->close = code;
}

static void on_control(struct ws_stream *s)
{
    const struct ws_frame *f = s->frame;

    if (f->opcode == WSLAY_CONNECTION_CLOSE) {
        on_close(s, (struct bytes){f->control, f->control_len});
    } else if (f->opcode == WSLAY_PING) {
        s->pong.len = 0; /* §5.5.3: the last one is answered */
        head(&s->pong, WSLAY_PONG, f->control_len);
        buf_append(&s->pong, f->control, f->control_len);
    } else if (f->opcode != WSLAY_PONG) {
        fail(s, WS_PROTOCOL_ERROR, "a frame of a kind that does not exist");
    }
}

static size_t size_of(const struct wslay_frame_iocb *io)
{
    size_t length = io->payload_length < 126 ? 0 : io->payload_length < 65536 ? 2 : 8;

    return 2 + length + 4 + (size_t)io->payload_length;
}

/* What the library has found next. Returns bytes of a message that it has put at out. */
static size_t on_piece(struct ws_stream *s, const struct wslay_frame_iocb *io, uint8_t *out)
{
    struct ws_frame *f = s->frame;
    bool control = wslay_is_ctrl_frame(io->opcode);

    if (!f->begun)
        begin(s, io);
    if (s->close)
        return 0;
    f->got += io->data_length;
    if (io->data_length) {
        memcpy(control ? f->control + f->control_len : out, io->data, io->data_length);
        f->control_len = (uint8_t)(f->control_len + (control ? io->data_length : 0));
    }
    if (f->got == io->payload_length) {
        f->begun = false;
        f->done += size_of(io);
        if (control)
            on_control(s);
    }
    return control ? 0 : io->data_length;
}

size_t ws_read(struct ws_stream *s, uint8_t *data, size_t len)
{
    struct cursor in = cursor_of(data, len);
    struct wslay_frame_iocb io;
    size_t kept = 0;

    if (!s->frame)
        s->frame = frame_new();
    s->frame->in = &in;
    while (!s->close) {
        ssize_t got = wslay_frame_recv(s->frame->context, &io);
        if (got == WSLAY_ERR_WANT_READ)
            break;
        if (got < 0)
            fail(s, WS_PROTOCOL_ERROR, "a frame that breaks the protocol");
        else
            kept += on_piece(s, &io, data + kept);
    }
    s->frame->in = NULL;
    if (s->close || (!s->frame->begun && s->frame->fed == s->frame->done)) {
        frame_free(s->frame);
        s->frame = NULL;
    }
    return kept;
}
