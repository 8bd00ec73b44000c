/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/line_model.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/mem.h"
#include "drivers/sim/rtu_frame.h"

enum { FRAME_MOST = 512 }; /* what comes beyond is counted but not kept: no frame is so long */

/* The frame that the master is sending. */
struct outgoing {
    uint8_t bytes[FRAME_MOST];
    uint64_t ends_ns[FRAME_MOST];
    size_t len; /* may exceed FRAME_MOST */
    uint64_t start_ns, end_ns;
    bool short_silence;
    struct buf notes;
};

/* What somebody else is sending, or will. */
struct talk {
    struct list link;
    struct sim_station *by; /* NULL: the master's own echo */
    uint64_t start_ns;
    struct sim_speech speech;
    size_t taken;
    bool met_master; /* their collision has been counted */
};

struct sim_line {
    struct sim_line_options options;
    struct sim_timing timing;
    struct sim_chance chance;
    struct sim_counts counts;
    struct sim_faults *faults;
    struct sim_station **stations;
    size_t station_count;
    struct list talks;
    struct outgoing frame;
    uint64_t quiet_ns; /* end of the last byte that is over; 0: there was none yet */
    uint64_t heard_ns; /* end of the last byte that the master has received */
};

void sim_timing_set(struct sim_timing *t, unsigned baud, unsigned char_bits)
{
    uint64_t bit_ns = 1000000000u / baud;

    t->baud = baud;
    t->char_bits = char_bits;
    t->char_ns = UINT64_C(1000000000) * char_bits / baud;
    t->silence_ns = baud > 19200 ? 1750000 : UINT64_C(3500000000) * char_bits / baud;
    t->gap_ns = baud > 19200 ? 750000 : UINT64_C(1500000000) * char_bits / baud;
    t->grain_ns = bit_ns / 16;
}

struct sim_line *sim_line_new(const struct sim_line_options *options)
{
    struct sim_line *l = mem_alloc(sizeof(*l));

    l->options = *options;
    l->chance.state = options->seed;
    sim_timing_set(&l->timing, options->baud, options->char_bits);
    list_init(&l->talks);
    return l;
}

static void talk_free(struct talk *t)
{
    list_remove(&t->link);
    sim_speech_free(&t->speech);
    free(t);
}

void sim_line_free(struct sim_line *l)
{
    if (!l)
        return;
    list_for_safe(it, &l->talks) talk_free(list_entry(it, struct talk, link));
    for (size_t i = 0; i < l->station_count; i++)
        sim_station_free(l->stations[i]);
    free(l->stations);
    sim_faults_free(l->faults);
    buf_free(&l->frame.notes);
    free(l);
}

void sim_line_add(struct sim_line *l, struct sim_station *s)
{
    l->stations = mem_resize(l->stations, (l->station_count + 1) * sizeof(struct sim_station *));
    l->stations[l->station_count++] = s;
}

void sim_line_fault(struct sim_line *l, struct sim_faults *f)
{
    sim_faults_free(l->faults);
    l->faults = f;
}

const struct sim_timing *sim_line_timing(const struct sim_line *l)
{
    return &l->timing;
}

struct sim_counts *sim_line_counts(struct sim_line *l)
{
    return &l->counts;
}

struct sim_station *sim_line_station(struct sim_line *l, size_t index)
{
    return index < l->station_count ? l->stations[index] : NULL;
}

static void log_frame(struct sim_line *l, uint64_t start_ns, uint64_t end_ns, const char *who,
                      struct bytes bytes, const struct buf *notes)
{
    struct sim_frame f = {start_ns, end_ns, who, bytes, notes->len ? (const char *)notes->data : ""};

    if (l->options.log)
        l->options.log(l->options.log_arg, &f);
}

static uint64_t byte_end(const struct sim_line *l, const struct talk *t, size_t index)
{
    uint64_t pause = t->speech.pause_ns && index >= t->speech.pause_at ? t->speech.pause_ns : 0;

    return t->start_ns + pause + (index + 1) * l->timing.char_ns;
}

static uint64_t talk_end(const struct sim_line *l, const struct talk *t)
{
    return byte_end(l, t, t->speech.bytes.len - 1);
}

/* Damages what of a talk is on the line in from..to. */
static void garble_talk(struct sim_line *l, struct talk *t, uint64_t from_ns, uint64_t to_ns)
{
    for (size_t i = t->taken; i < t->speech.bytes.len; i++) {
        uint64_t end = byte_end(l, t, i);

        if (end > from_ns && end < to_ns + l->timing.char_ns)
            t->speech.bytes.data[i] ^= sim_chance_damage(&l->chance);
    }
}

static void garble_frame(struct sim_line *l, uint64_t from_ns, uint64_t to_ns)
{
    struct outgoing *f = &l->frame;

    for (size_t i = 0; i < f->len && i < FRAME_MOST; i++)
        if (f->ends_ns[i] > from_ns && f->ends_ns[i] < to_ns + l->timing.char_ns)
            f->bytes[i] ^= sim_chance_damage(&l->chance);
}

/* The master is on the line in from..to: does it talk into somebody's speech? */
static void meet_master(struct sim_line *l, struct talk *t, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t start = t->start_ns, end = talk_end(l, t);

    if (!t->by || start >= to_ns || end <= from_ns)
        return;
    garble_talk(l, t, from_ns, to_ns);
    garble_frame(l, start > from_ns ? start : from_ns, end < to_ns ? end : to_ns);
    if (t->met_master)
        return;
    t->met_master = true;
    l->counts.collisions++;
    buf_printf(&t->speech.notes, " collision=master");
    buf_printf(&l->frame.notes, " collision=%s", t->by->name);
}

static void meet_talks(struct sim_line *l, struct talk *t)
{
    uint64_t start = t->start_ns, end = talk_end(l, t);

    list_for(it, &l->talks)
    {
        struct talk *o = list_entry(it, struct talk, link);

        if (!o->by || o == t || o->start_ns >= end || talk_end(l, o) <= start)
            continue;
        uint64_t o_start = o->start_ns, o_end = talk_end(l, o);
        garble_talk(l, t, o_start, o_end);
        garble_talk(l, o, start, end);
        l->counts.collisions++;
        buf_printf(&t->speech.notes, " collision=%s", o->by->name);
        buf_printf(&o->speech.notes, " collision=%s", t->by->name);
    }
    if (l->frame.len)
        meet_master(l, t, l->frame.start_ns, l->frame.end_ns);
}

/* Takes speech over and puts it on the line at start_ns. */
static struct talk *talk_new(struct sim_line *l, struct sim_station *by, uint64_t start_ns,
                             struct sim_speech *speech)
{
    struct talk *t = mem_alloc(sizeof(*t));

    t->by = by;
    t->start_ns = start_ns;
    t->speech = *speech;
    *speech = (struct sim_speech){0};
    list_add_tail(&l->talks, &t->link);
    return t;
}

/* Would a careful master still believe it? */
static bool is_undetectable(struct bytes clean, struct bytes sent)
{
    size_t head = clean.len > 2 && clean.data[1] <= 4 ? 3 : 2;

    return clean.len == sent.len && sim_rtu_whole(clean) && memcmp(clean.data, sent.data, clean.len) &&
           !memcmp(clean.data, sent.data, head) && sim_rtu_whole(sent);
}

static void count_reply(struct sim_line *l, struct sim_station *s, const struct sim_speech *speech,
                        bool undetectable)
{
    s->counts.replies++;
    l->counts.replies++;
    s->counts.exceptions += speech->exception;
    l->counts.exceptions += speech->exception;
    s->counts.undetectable += undetectable;
    l->counts.undetectable += undetectable;
}

/* A station has something to say from now_ns on; first the faults have their way with it. */
static void say(struct sim_line *l, struct sim_station *s, uint64_t now_ns, struct bytes request,
                struct sim_speech *speech)
{
    struct buf clean = {0};
    unsigned faults;

    buf_append(&clean, speech->bytes.data, speech->bytes.len);
    faults = sim_faults_reply(s->faults, &l->chance, now_ns, request, speech);
    faults += sim_faults_reply(l->faults, &l->chance, now_ns, request, speech);
    s->counts.faults += faults;
    l->counts.faults += faults;
    if (speech->silent) {
        s->counts.unanswered++;
        l->counts.unanswered++;
        log_frame(l, now_ns, now_ns, s->name, (struct bytes){0}, &speech->notes);
    } else {
        uint64_t wait = s->turnaround_ns + sim_chance_below(&l->chance, s->jitter_ns + 1) + speech->delay_ns;
        bool undetectable = is_undetectable((struct bytes){clean.data, clean.len},
                                            (struct bytes){speech->bytes.data, speech->bytes.len});

        if (undetectable)
            buf_printf(&speech->notes, " undetectable");
        count_reply(l, s, speech, undetectable);
        meet_talks(l, talk_new(l, s, now_ns + wait, speech));
    }
    buf_free(&clean);
}

/* True when the frame was meant for s. */
static bool offer(struct sim_line *l, struct sim_station *s, uint64_t now_ns, struct bytes frame)
{
    struct sim_speech heard = {0}, speech = {.silence_ns = l->timing.silence_ns};
    bool meant = false;

    if (!s->kind->hear)
        return false;
    buf_append(&heard.bytes, frame.data, frame.len);
    sim_faults_request(s->faults, &l->chance, now_ns, &heard);
    frame = (struct bytes){heard.bytes.data, heard.bytes.len};
    if (sim_rtu_whole(frame) && s->kind->hear(s, now_ns, frame, &speech)) {
        meant = true;
        s->counts.requests++;
        if (speech.bytes.len)
            say(l, s, now_ns, frame, &speech);
    }
    sim_speech_free(&heard);
    sim_speech_free(&speech);
    return meant;
}

static void judge_whole(struct sim_line *l, struct outgoing *f)
{
    size_t len = f->len < FRAME_MOST ? f->len : FRAME_MOST;
    size_t request = sim_rtu_request((struct bytes){f->bytes, len});

    l->counts.broken++;
    buf_printf(&f->notes, " broken");
    /* For the stations two requests without silence between them are one frame. */
    if (request) {
        l->counts.short_silences++;
        buf_printf(&f->notes, " silence_after=%zu_bytes", request);
    }
}

/* 3.5 characters of silence have gone by after the master's last byte. */
static void frame_end(struct sim_line *l, uint64_t now_ns)
{
    struct outgoing *f = &l->frame;
    struct sim_speech heard = {0};
    bool whole, meant = false;

    buf_append(&heard.bytes, f->bytes, f->len < FRAME_MOST ? f->len : FRAME_MOST);
    if (sim_faults_request(l->faults, &l->chance, now_ns, &heard)) {
        l->counts.faults++;
        buf_printf(&f->notes, "%s", (const char *)heard.notes.data);
    }
    whole = f->len <= FRAME_MOST && sim_rtu_whole((struct bytes){heard.bytes.data, heard.bytes.len});
    if (whole)
        l->counts.requests++;
    else
        judge_whole(l, f);
    log_frame(l, f->start_ns, f->end_ns, "master", (struct bytes){f->bytes, heard.bytes.len}, &f->notes);
    l->quiet_ns = f->end_ns > l->quiet_ns ? f->end_ns : l->quiet_ns;
    f->len = f->notes.len = 0;
    if (whole && !(f->short_silence && l->options.strict)) {
        for (size_t i = 0; i < l->station_count; i++)
            meant |= offer(l, l->stations[i], now_ns, (struct bytes){heard.bytes.data, heard.bytes.len});
        l->counts.unknown += !meant;
    }
    sim_speech_free(&heard);
}

static uint64_t frame_due(const struct sim_line *l)
{
    return l->frame.len ? l->frame.end_ns + l->timing.silence_ns : UINT64_MAX;
}

/* The station that wants to speak by itself next. */
static struct sim_station *speaker(const struct sim_line *l, uint64_t *due_ns)
{
    struct sim_station *first = NULL;

    *due_ns = UINT64_MAX;
    for (size_t i = 0; i < l->station_count; i++) {
        struct sim_station *s = l->stations[i];
        uint64_t due = s->kind->next ? s->kind->next(s) : UINT64_MAX;

        if (due < *due_ns) {
            *due_ns = due;
            first = s;
        }
    }
    return first;
}

static void speak(struct sim_line *l, struct sim_station *s, uint64_t now_ns)
{
    struct sim_speech speech = {.silence_ns = l->timing.silence_ns};

    s->kind->speak(s, now_ns, &l->chance, &speech);
    if (speech.bytes.len)
        say(l, s, now_ns, (struct bytes){0}, &speech);
    sim_speech_free(&speech);
}

/* All that happens until now_ns, in order, at its own time. */
static void play(struct sim_line *l, uint64_t now_ns)
{
    for (;;) {
        uint64_t frame = frame_due(l), speech;
        struct sim_station *s = speaker(l, &speech);

        if (frame > now_ns && speech > now_ns)
            return;
        if (frame <= speech)
            frame_end(l, frame);
        else
            speak(l, s, speech);
    }
}

/* The end of the last byte of all who began before at_ns; 0: nobody has. */
static uint64_t quiet_since(const struct sim_line *l, uint64_t at_ns)
{
    uint64_t quiet = l->quiet_ns;

    list_for(it, &l->talks)
    {
        const struct talk *t = list_entry(it, struct talk, link);
        uint64_t end = talk_end(l, t);

        if (t->by && t->start_ns < at_ns && end > quiet)
            quiet = end;
    }
    return quiet;
}

/* Judges the silence before the master's frame. */
static void frame_begin(struct sim_line *l, uint64_t start_ns)
{
    struct outgoing *f = &l->frame;
    uint64_t quiet = quiet_since(l, start_ns);

    f->start_ns = start_ns;
    f->short_silence = false;
    /* Into somebody's speech is a collision, and judged as such. */
    if (quiet && quiet <= start_ns) {
        buf_printf(&f->notes, " silence=%" PRIu64, (start_ns - quiet) / 1000);
        f->short_silence = start_ns - quiet + l->timing.grain_ns < l->timing.silence_ns;
    }
    if (f->short_silence) {
        l->counts.short_silences++;
        buf_printf(&f->notes, " short");
    }
}

static void frame_continue(struct sim_line *l, uint64_t start_ns)
{
    uint64_t gap = start_ns - l->frame.end_ns;

    if (gap <= l->timing.gap_ns + l->timing.grain_ns)
        return;
    l->counts.long_gaps++;
    buf_printf(&l->frame.notes, " gap=%" PRIu64, gap / 1000);
}

static void echo(struct sim_line *l, uint64_t start_ns, const uint8_t *data, size_t len)
{
    struct sim_speech speech = {0};

    buf_append(&speech.bytes, data, len);
    talk_new(l, NULL, start_ns, &speech);
}

void sim_line_send(struct sim_line *l, uint64_t now_ns, const uint8_t *data, size_t len)
{
    struct outgoing *f = &l->frame;

    if (!len)
        return;
    play(l, now_ns);
    uint64_t start = f->len && f->end_ns > now_ns ? f->end_ns : now_ns;
    if (f->len)
        frame_continue(l, start);
    else
        frame_begin(l, start);
    if (l->options.echo)
        echo(l, start, data, len);
    l->counts.bytes_heard += len;
    f->end_ns = start;
    for (size_t i = 0; i < len; i++, f->len++) {
        f->end_ns += l->timing.char_ns;
        if (f->len < FRAME_MOST) {
            f->bytes[f->len] = data[i];
            f->ends_ns[f->len] = f->end_ns;
        }
    }
    list_for(it, &l->talks) meet_master(l, list_entry(it, struct talk, link), start, f->end_ns);
}

uint64_t sim_line_next(const struct sim_line *l)
{
    uint64_t next = frame_due(l), due;

    speaker(l, &due);
    next = due < next ? due : next;
    list_for(it, &l->talks)
    {
        const struct talk *t = list_entry(it, struct talk, link);

        due = byte_end(l, t, t->taken);
        next = due < next ? due : next;
    }
    return next;
}

/* The talk whose next byte arrives first, by now_ns. */
static struct talk *first_talk(struct sim_line *l, uint64_t now_ns)
{
    struct talk *first = NULL;

    list_for(it, &l->talks)
    {
        struct talk *t = list_entry(it, struct talk, link);

        if (byte_end(l, t, t->taken) <= now_ns &&
            (!first || byte_end(l, t, t->taken) < byte_end(l, first, first->taken)))
            first = t;
    }
    return first;
}

static void talk_finish(struct sim_line *l, struct talk *t)
{
    uint64_t end = talk_end(l, t);

    if (t->by) {
        l->quiet_ns = end > l->quiet_ns ? end : l->quiet_ns;
        log_frame(l, t->start_ns, end, t->by->name, (struct bytes){t->speech.bytes.data, t->speech.bytes.len},
                  &t->speech.notes);
    }
    talk_free(t);
}

size_t sim_line_take(struct sim_line *l, uint64_t now_ns, struct sim_arrival *out, size_t room)
{
    size_t count = 0;
    struct talk *t;

    play(l, now_ns);
    while (count < room && (t = first_talk(l, now_ns))) {
        uint64_t end = byte_end(l, t, t->taken);

        /* A wire has time for one character at a time: a receiver takes two that overlap for one. */
        if (end >= l->heard_ns + l->timing.char_ns) {
            out[count++] = (struct sim_arrival){end, t->speech.bytes.data[t->taken]};
            l->heard_ns = end;
        }
        if (++t->taken == t->speech.bytes.len)
            talk_finish(l, t);
    }
    l->counts.bytes_sent += count;
    return count;
}
