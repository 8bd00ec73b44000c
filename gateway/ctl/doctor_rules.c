/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/doctor_rules.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/status_fields.h"

enum { TEXT_MOST = 512, SLOW_MS = 100, SLOW_TIMES = 4, LATENCY_OK_MS = 2 };

struct doctor {
    const struct doctor_case *c;
    const cJSON *line, *was; /* of the line, now and before */
    bool serial;
    int worst;
};

static void say(struct doctor *d, enum doctor_level level, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct doctor *d, enum doctor_level level, const char *advice, const char *fmt, ...)
{
    char what[TEXT_MOST];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    d->worst = (int)level > d->worst ? (int)level : d->worst;
    d->c->tell(d->c->arg, level, what, advice);
}

/* ---- numbers ---- */

static double number(const cJSON *of, const char *name)
{
    double n = field_number(of, name);

    return isfinite(n) ? n : 0;
}

static const cJSON *named(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list) if (!strcmp(field_text(item, "name"), name)) return item;
    return NULL;
}

/* What has grown while we watched; a line that began anew has grown from nothing. */
static double grown(const cJSON *now, const cJSON *before, const char *name)
{
    double n = number(now, name) - number(before, name);

    return n >= 0 ? n : number(now, name);
}

static double counter(const struct doctor *d, const char *name)
{
    return number(field(field(d->line, "tty"), "counters"), name);
}

static double counter_grown(const struct doctor *d, const char *name)
{
    return grown(field(field(d->line, "tty"), "counters"), field(field(d->was, "tty"), "counters"), name);
}

/* ---- nobody answers ---- */

static void judge_silence(struct doctor *d)
{
    double frame = counter(d, "frame"), brk = counter(d, "break"), parity = counter(d, "parity"),
           rx = counter(d, "rx");
    bool counts = field(field(d->line, "tty"), "counters");
    double bytes = rx + number(d->line, "stray") + number(d->line, "crc") + number(d->line, "foreign");

    if (!d->serial)
        say(d, DOCTOR_BAD, "Is the unit's number right? `sluicectl scan LINE` asks them all.",
            "the connection is open, but no unit answers");
    else if (brk > 0 && brk * 2 >= frame)
        say(d, DOCTOR_BAD,
            "A and B are probably swapped, so that the line rests at the wrong level: swap them. If they are "
            "right: bias resistors are missing.",
            "nobody answers; the receiver sees breaks (%.0f) and framing errors (%.0f)", brk, frame);
    else if (parity > 0 && parity >= frame)
        say(d, DOCTOR_BAD, "The format is probably another: `sluicectl scan LINE --format all` tries them.",
            "nobody is understood; the receiver sees parity errors (%.0f)", parity);
    else if (frame > 0)
        say(d, DOCTOR_BAD,
            "The speed is probably another: `sluicectl scan LINE --baud all` tries them. If none is right, A "
            "and B may be swapped.",
            "nobody is understood; the receiver sees framing errors (%.0f)", frame);
    else if (number(d->line, "echoes") > 0)
        say(d, DOCTOR_BAD,
            "The adapter sends and hears itself: what is behind it is missing. Wires, supply of the units, "
            "their numbers and speed.",
            "nobody answers; only our own bytes come back");
    else if (bytes > 0)
        say(d, DOCTOR_BAD,
            "Speed or format is probably another: `sluicectl scan LINE --baud all --format all` tries them. "
            "If none is right, A and B may be swapped.",
            "bytes come, but never an answer");
    else
        say(d, DOCTOR_BAD,
            "Are the wires connected, A to A and B to B, and the units supplied? Is it the right port? Does "
            "the transceiver need `rs485`? Are units' "
            "numbers and speed right: `sluicectl scan LINE --baud all`.",
            "nobody answers%s", counts ? "; not a single byte has come" : "");
}

/* ---- the wire ---- */

static void judge_errors(struct doctor *d)
{
    double frame = counter_grown(d, "frame"), parity = counter_grown(d, "parity"),
           brk = counter_grown(d, "break"), lost = counter_grown(d, "overrun") + counter_grown(d, "lost");

    if (frame + parity + brk > 0)
        say(d, DOCTOR_WARN,
            "Disturbed wires or two who speak at once: termination at both ends alone, a common ground, "
            "shield, no stubs. A unit with another speed or "
            "format is seen so as well.",
            "the receiver sees framing errors (%.0f), parity errors (%.0f), breaks (%.0f)", frame, parity,
            brk);
    if (lost > 0)
        say(d, DOCTOR_WARN,
            "The processor comes too late or the adapter is poor: another adapter, or a lower speed.",
            "the port has lost bytes (%.0f)", lost);
}

static void judge_noise(struct doctor *d)
{
    double stray = grown(d->line, d->was, "stray");

    if (stray > 0)
        say(d, DOCTOR_WARN,
            "Bias resistors or termination are missing, or a transceiver is switched on too early or off too "
            "late. `sluicectl trace` shows where the bytes "
            "come.",
            "stray bytes between the frames (%.0f in %.0f s)", stray, d->c->seconds);
}

static void judge_crc(struct doctor *d)
{
    double crc = grown(d->line, d->was, "crc"), requests = grown(d->line, d->was, "requests");

    if (crc > 0)
        say(d, crc * 10 > requests ? DOCTOR_BAD : DOCTOR_WARN,
            "Disturbed wires, or two units of one number. `sluicectl trace` shows the damaged frames; see "
            "which units they come from.",
            "damaged answers (%.0f of %.0f)", crc, requests);
}

static void judge_foreign(struct doctor *d)
{
    const struct doctor_heard *h = d->c->heard;

    if (h->foreign_requests)
        say(d, DOCTOR_BAD,
            "A line has one master. `sluicectl sniff` shows what it asks for; it can ask through our Modbus "
            "server instead.",
            "another master speaks on this line (%lu requests)", h->foreign_requests);
    for (unsigned unit = 0; unit < 256; unit++)
        if (h->answers_of[unit] && !h->foreign_requests)
            say(d, DOCTOR_BAD,
                "It answers to requests of others, or a second one has its number: give each unit its own. "
                "Look with `sluicectl trace`.",
                "unit %u answers when it has not been asked (%lu times)", unit, h->answers_of[unit]);
}

static void judge_echo(struct doctor *d)
{
    if (number(d->line, "echoes") > 0)
        say(d, DOCTOR_NOTE,
            "Nothing needs to be done: our own bytes are recognised. It costs nothing but a little certainty "
            "of writes.",
            "the adapter hears itself");
}

static void judge_late(struct doctor *d)
{
    double late = grown(d->line, d->was, "late");

    if (late > 0)
        say(d, DOCTOR_WARN,
            "Give the slow device more time: `response` of the device, above the longest that was seen.",
            "answers come after their time (%.0f; the latest after %.0f ms)", late,
            number(d->line, "late_ms_most"));
}

static void judge_load(struct doctor *d)
{
    double load = number(d->line, "load"), planned = number(d->line, "predicted_load"),
           overruns = grown(d->line, d->was, "overruns");

    if (load > 0.95)
        say(d, DOCTOR_BAD,
            "Poll less often, read less, or make the line faster. `sluiced --check` predicts what that "
            "brings.",
            "the line has no time left (%.0f %%)", load * 100);
    else if (load > 1.5 * planned + 0.05)
        say(d, DOCTOR_WARN,
            "Slow units, timeouts or repeated reads take the difference: see the other findings, and the "
            "answer times "
            "in `sluicectl top`.",
            "the line is busier (%.0f %%) than planned (%.0f %%)", load * 100, planned * 100);
    if (overruns > 0)
        say(d, DOCTOR_WARN, "Poll less often, read less, or make the line faster.",
            "polls fell out for want of time (%.0f)", overruns);
}

/* ---- the port ---- */

static void judge_tty(struct doctor *d)
{
    const cJSON *tty = field(d->line, "tty");

    if (*field_text(tty, "rs485_lost"))
        say(d, DOCTOR_BAD,
            "Use rs485 = { mode = \"rts\" } or \"gpio\", as the board is wired; or leave rs485 away where "
            "the adapter switches by itself.",
            "the driver does not keep the RS-485 mode: %s", field_text(tty, "rs485_lost"));
    if (number(tty, "latency_ms") > LATENCY_OK_MS)
        say(d, DOCTOR_WARN,
            "It costs that much with each answer. Its latency_timer in /sys is root's to set: the installed "
            "service may, or a udev rule.",
            "the USB adapter keeps bytes back for %.0f ms", number(tty, "latency_ms"));
}

/* ---- devices ---- */

static double median_turnaround(const struct doctor *d)
{
    const cJSON *device;
    double all[256];
    size_t n = 0;

    cJSON_ArrayForEach(device, field(d->c->after, "devices"))
    {
        if (strcmp(field_text(device, "line"), d->c->line) || n == ARRAY_SIZE(all))
            continue;
        size_t at = n++;
        for (double t = number(device, "turnaround_ms"); at && all[at - 1] > t; at--)
            all[at] = all[at - 1];
        all[at] = number(device, "turnaround_ms");
    }
    return n ? all[n / 2] : 0;
}

static void judge_away(struct doctor *d, const cJSON *device)
{
    const char *reason = field_text(device, "reason");
    bool silent = strstr(reason, "timeout") != NULL;

    say(d, DOCTOR_BAD,
        silent ? "Is it supplied and connected, is its number right and its own? `sluicectl scan LINE "
                 "--units N` asks it; `sluicectl trace LINE --device D` "
                 "shows it."
               : "`sluicectl trace LINE --device D` shows what it says.",
        "device %s (unit %.0f) is %s: %s", field_text(device, "name"), number(device, "unit"),
        field_text(device, "state"), reason);
}

static void judge_answers(struct doctor *d, const cJSON *device, const cJSON *was)
{
    double requests = grown(device, was, "requests"), timeouts = grown(device, was, "timeouts"),
           exceptions = grown(device, was, "exceptions");
    const char *name = field_text(device, "name");

    if (timeouts > 0 && timeouts * 50 > requests)
        say(d, DOCTOR_WARN,
            "Disturbed wires, a loose contact, or a unit that is busy: more `response` for the device, or "
            "fewer polls.",
            "device %s left requests without an answer (%.0f of %.0f)", name, timeouts, requests);
    if (exceptions > 0)
        say(d, DOCTOR_WARN,
            "Some of its addresses are not there, or not readable now: `sluicectl trace LINE --device D` "
            "shows which.",
            "device %s refuses requests (%.0f of %.0f)", name, exceptions, requests);
}

static void judge_speed(struct doctor *d, const cJSON *device, double median)
{
    double turnaround = number(device, "turnaround_ms");

    if (turnaround > SLOW_MS && turnaround > SLOW_TIMES * median)
        say(d, DOCTOR_WARN,
            "It holds up the others: poll it less often, in fewer requests, or on a line of its own.",
            "device %s takes %.0f ms to begin its answer; the others take %.0f", field_text(device, "name"),
            turnaround, median);
}

static void judge_devices(struct doctor *d, bool silence)
{
    double median = median_turnaround(d);
    const cJSON *device;

    cJSON_ArrayForEach(device, field(d->c->after, "devices"))
    {
        const char *state = field_text(device, "state");
        if (strcmp(field_text(device, "line"), d->c->line))
            continue;
        if (!strcmp(state, "dead") || !strcmp(state, "stale")) {
            if (!silence)
                judge_away(d, device);
            continue;
        }
        judge_answers(d, device, named(field(d->c->before, "devices"), field_text(device, "name")));
        judge_speed(d, device, median);
    }
}

/* ---- all of it ---- */

static bool is_open(struct doctor *d)
{
    const char *state = field_text(d->line, "state");

    if (field(d->line, "visit"))
        say(d, DOCTOR_WARN, "Nothing is polled until that has ended; ask again then.",
            "somebody has the line to himself: %s by %s", field_text(field(d->line, "visit"), "tool"),
            field_text(field(d->line, "visit"), "user"));
    if (!strcmp(state, "open"))
        return true;
    say(d, DOCTOR_BAD,
        d->serial ? "Is the adapter plugged in (`ls -l /dev/serial/by-id`)? May the daemon open it (group "
                    "dialout)? Does another program have it?"
                  : "Does the address answer, and is port 502 open there?",
        "the line is %s%s%s", state, *field_text(d->line, "error") ? ": " : "", field_text(d->line, "error"));
    return false;
}

int doctor_judge(const struct doctor_case *c)
{
    struct doctor d = {.c = c,
                       .line = named(field(c->after, "lines"), c->line),
                       .was = named(field(c->before, "lines"), c->line),
                       .worst = -1};

    d.serial = strcmp(field_text(d.line, "protocol"), "modbus-tcp") != 0;
    judge_tty(&d);
    if (!is_open(&d))
        return d.worst;
    bool asked = grown(d.line, d.was, "requests") > 0;
    bool silence = asked && grown(d.line, d.was, "ok") + grown(d.line, d.was, "exceptions") <= 0;
    if (!asked && !field(d.line, "visit"))
        say(&d, DOCTOR_NOTE, "Watch for longer than the period of its groups: --for 60s.",
            "nothing was asked in %.0f s", c->seconds);
    if (silence)
        judge_silence(&d);
    else
        judge_errors(&d);
    judge_crc(&d);
    if (!silence)
        judge_noise(&d);
    judge_foreign(&d);
    judge_echo(&d);
    judge_late(&d);
    judge_load(&d);
    judge_devices(&d, silence);
    return d.worst;
}

void doctor_hear(struct doctor_heard *h, const cJSON *frame)
{
    const char *kind = field_text(frame, "kind");
    double unit = field_number(frame, "unit");

    if (!strcmp(kind, "noise")) {
        h->noises++;
        h->noise_bytes += strlen(field_text(frame, "hex")) / 2;
    }
    if (strcmp(kind, "foreign") != 0 || !(unit >= 0 && unit < 256))
        return;
    if (!strcmp(field_text(frame, "way"), "request")) {
        h->foreign_requests++;
    } else {
        h->foreign_answers++;
        h->answers_of[(int)unit]++;
    }
}
