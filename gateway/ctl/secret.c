/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;

/* A terminal without echo must not outlive us. */
static void on_signal(int number)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    signal(number, SIG_DFL);
    raise(number);
}

/* By bytes: what a buffer of stdio holds would stay in memory. */
static int read_line(char out[SECRET_MOST + 1])
{
    size_t len = 0;
    char c;

    for (;;) {
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || c == '\n')
            break;
        if (len == SECRET_MOST)
            return -EMSGSIZE;
        out[len++] = c;
    }
    out[len] = 0;
    return len && strlen(out) == len ? 0 : -EINVAL;
}

static int ask_once(const char *prompt, const char *whose, char out[SECRET_MOST + 1])
{
    struct termios quiet = before;

    quiet.c_lflag &= ~(tcflag_t)ECHO;
    quiet.c_lflag |= ECHONL;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)) /* before the question: it throws away what came early */
        return -errno;
    fprintf(stderr, "%s%s: ", prompt, whose);
    fflush(stderr);
    int err = read_line(out);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    return err;
}

static int ask_twice(const char *whose, char out[SECRET_MOST + 1])
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    char again[SECRET_MOST + 1];

    if (tcgetattr(STDIN_FILENO, &before))
        return -errno;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        signal(numbers[i], on_signal);
    int err = ask_once("Password of ", whose, out);
    if (!err)
        err = ask_once("The same again, of ", whose, again);
    if (!err && strcmp(out, again) != 0)
        err = -EKEYREJECTED;
    explicit_bzero(again, sizeof(again));
    return err;
}

int secret_ask(const char *whose, char out[SECRET_MOST + 1])
{
    int err = isatty(STDIN_FILENO) ? ask_twice(whose, out) : read_line(out);

    if (err == -EKEYREJECTED)
        fprintf(stderr, "sluicectl: the two differ; nothing was changed\n");
    else if (err == -EMSGSIZE)
        fprintf(stderr, "sluicectl: a password has at most %d bytes\n", SECRET_MOST);
    else if (err == -EINVAL)
        fprintf(stderr, "sluicectl: no password was given; nothing was changed\n");
    else if (err)
        fprintf(stderr, "sluicectl: cannot ask for a password: %s\n", strerror(-err));
    return err;
}
