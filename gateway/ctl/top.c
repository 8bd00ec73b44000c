/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl top: what the box does, on a whole screen, each second anew. Plain sequences that every terminal
 * of today knows; the terminal is as it was afterwards, however it ends. */
#include <cjson/cJSON.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/top_view.h"

static volatile sig_atomic_t ended, resized;
static struct termios before;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

static void on_resize(int number)
{
    (void)number;
    resized = 1;
}

static void write_all(const void *data, size_t len)
{
    const char *at = data;

    while (len) {
        ssize_t n = write(STDOUT_FILENO, at, len);
        if (n <= 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

static void put(const char *text)
{
    write_all(text, strlen(text));
}

static void take_screen(void)
{
    const struct sigaction end = {.sa_handler = on_end}, resize = {.sa_handler = on_resize};
    const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct termios raw = before;

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        sigaction(ends[i], &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    put("\033[?1049h\033[?25l"); /* the other screen, no cursor */
}

static void give_screen_back(void)
{
    put("\033[?25h\033[?1049l");
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

/* Without NULL the text is one screen; each line is cut where the terminal ends. */
static void draw(const cJSON *now, const cJSON *then, double seconds)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (!f)
        return;
    top_view(now, then, seconds, size.ws_row ? size.ws_row : 24, size.ws_col ? size.ws_col : 80,
             want_colours(), f);
    fclose(f);
    put("\033[H");
    write_all(text, len);
    put("\033[J");
    free(text);
}

/* True when it is time for the next screen. */
static bool wait_for_key(uint64_t until_us, bool *leave)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = clock_boot_us();
    char key;

    if (poll(&in, 1, now < until_us ? (int)((until_us - now) / 1000) + 1 : 0) > 0) {
        ssize_t n = read(STDIN_FILENO, &key, 1);
        *leave = n <= 0 || key == 'q' || key == 'Q' || key == 3;
    }
    return clock_boot_us() >= until_us;
}

static cJSON *ask_status(const char *path)
{
    cJSON *question = cJSON_CreateObject();

    cJSON_AddStringToObject(question, "do", "status");
    return ask(path, question);
}

static int watch_screen(const char *path)
{
    cJSON *then = NULL, *now = ask_status(path);
    uint64_t now_us = clock_boot_us(), then_us = now_us;
    bool leave = false;

    if (!now)
        return NO_DAEMON;
    take_screen();
    while (now && !leave && !ended) {
        draw(now, then, (double)(now_us - then_us) / 1e6);
        resized = 0;
        while (!leave && !ended && !resized && !wait_for_key(now_us + 1000000, &leave))
            ;
        if (leave || ended || resized)
            continue;
        cJSON_Delete(then);
        then = now;
        then_us = now_us;
        now = ask_status(path);
        now_us = clock_boot_us();
    }
    give_screen_back();
    cJSON_Delete(then);
    int status = now ? DONE : NO_DAEMON;
    cJSON_Delete(now);
    return status;
}

int do_top(const struct options *o, char **words)
{
    (void)words;
    if (o->json)
        return wrong_use("top is for people; programs take ", "status --json");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before)) {
        fprintf(stderr, "sluicectl: top needs a terminal; `sluicectl status` does not\n");
        return WRONG_USE;
    }
    char *path = socket_path(o);
    int status = path ? watch_screen(path) : NO_DAEMON;
    free(path);
    return status;
}
