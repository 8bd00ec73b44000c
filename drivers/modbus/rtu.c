/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/rtu.h"

#include <errno.h>
#include <modbus/modbus.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

struct rtu {
    modbus_t *lib;
    int theirs, ours;
};

int rtu_new(struct rtu **out)
{
    int ends[2], err = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return -errno;
    struct rtu *r = mem_alloc(sizeof *r);
    *r = (struct rtu){.theirs = ends[0], .ours = ends[1]};
    if (r->theirs >= FD_SETSIZE)
        err = -EMFILE;
    /* Device and speed are only names here: libmodbus never opens anything. */
    else if (!(r->lib = modbus_new_rtu("line", 9600, 'N', 8, 1)))
        err = -errno;
    else if (modbus_set_socket(r->lib, r->theirs) ||
             modbus_set_error_recovery(r->lib, MODBUS_ERROR_RECOVERY_NONE))
        err = -errno;
    if (err) {
        rtu_free(r);
        return err;
    }
    *out = r;
    return 0;
}

void rtu_free(struct rtu *r)
{
    if (!r)
        return;
    if (r->lib) {
        modbus_set_socket(r->lib, -1);
        modbus_free(r->lib);
    }
    close(r->theirs);
    close(r->ours);
    free(r);
}

/* What a failed call left must not be there at the next one. */
static void empty(int fd)
{
    uint8_t waste[512];

    while (recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0)
        ;
}

int rtu_frame(struct rtu *r, uint8_t unit, const uint8_t *pdu, size_t len, uint8_t frame[RTU_FRAME_MAX])
{
    uint8_t raw[RTU_FRAME_MAX];

    if (len + 3 > RTU_FRAME_MAX)
        return -EMSGSIZE;
    raw[0] = unit;
    memcpy(raw + 1, pdu, len);
    empty(r->ours);
    if (modbus_set_slave(r->lib, unit) || modbus_send_raw_request(r->lib, raw, (int)len + 1) < 0)
        return errno > 0 && errno < MODBUS_ENOBASE ? -errno : -EINVAL;
    ssize_t got = recv(r->ours, frame, RTU_FRAME_MAX, MSG_DONTWAIT);
    return got < 0 ? -errno : (int)got;
}

int rtu_confirm(struct rtu *r, const uint8_t *reply, size_t len)
{
    uint8_t taken[MODBUS_MAX_ADU_LENGTH];

    if (send(r->ours, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
        return -EBADMSG;
    int got = modbus_receive_confirmation(r->lib, taken);
    if (got == (int)len && !memcmp(taken, reply, len))
        return 0;
    empty(r->theirs);
    return -EBADMSG;
}

static int send_request(struct exchange *x, struct port *port)
{
    uint64_t at_us;
    int err = port_send(port, x->frame, x->frame_len, x->timing.char_ns, &at_us);

    if (!err)
        exchange_sent(x, at_us);
    return err;
}

static int take_bytes(struct exchange *x, int tty_fd)
{
    uint8_t data[RTU_FRAME_MAX];
    ssize_t got;

    while ((got = read(tty_fd, data, sizeof data)) > 0)
        exchange_bytes(x, data, (size_t)got, clock_boot_us());
    return got < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

/* order_fd: -1 when nothing else may end the wait. 1: it is readable. */
static int wait_for_bytes(int tty_fd, int stop_fd, int order_fd, uint64_t until_us)
{
    struct pollfd fds[3] = {{.fd = tty_fd, .events = POLLIN | POLLRDHUP},
                            {.fd = stop_fd, .events = POLLIN},
                            {.fd = order_fd, .events = POLLIN}};
    uint64_t now = clock_boot_us();
    uint64_t left = until_us > now ? until_us - now : 0;
    struct timespec timeout = {(time_t)(left / 1000000), (long)(left % 1000000 * 1000)};

    if (ppoll(fds, 3, &timeout, NULL) < 0)
        return errno == EINTR ? 0 : -errno;
    if (fds[1].revents)
        return -ECANCELED;
    if (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL | POLLRDHUP))
        return -EIO;
    return fds[2].revents ? 1 : 0;
}

/* A long answer is let come in; waking for each of its bytes would cost more than all else. */
static int rest(const struct exchange *x, int stop_fd)
{
    uint64_t until_us = judge_rest_us(&x->judge);

    return until_us > clock_boot_us() ? wait_for_bytes(-1, stop_fd, -1, until_us) : 0;
}

/* Before the request is sent it may give way; afterwards the wait is for the answer alone. */
static int wait_on(struct exchange *x, struct port *port, int stop_fd, int order_fd, uint64_t until_us)
{
    bool sent = x->state != STATE_SILENCE;
    int err = rest(x, stop_fd);

    if (!err)
        err = wait_for_bytes(port->fd, stop_fd, sent ? -1 : order_fd, until_us);
    return err > 0 && !exchange_withdraw(x) ? 0 : err;
}

int rtu_run(struct exchange *x, struct port *port, int stop_fd, int order_fd)
{
    for (;;) {
        uint64_t until_us;
        /* The time first: what has not come by then is not there. The other way round a thread that was put
         * aside between the two would find a gap where bytes are waiting. */
        uint64_t now = clock_boot_us();
        int err = take_bytes(x, port->fd);
        if (err)
            return err;
        switch (exchange_step(x, now, &until_us)) {
        case EXCHANGE_DONE:
            return 0;
        case EXCHANGE_SEND:
            err = send_request(x, port);
            break;
        case EXCHANGE_WAIT:
        case EXCHANGE_IDLE:
            err = wait_on(x, port, stop_fd, order_fd, until_us);
            break;
        }
        if (err)
            return err;
    }
}

int rtu_listen(struct exchange *x, struct port *port, int stop_fd, int order_fd, uint64_t until_us)
{
    for (;;) {
        uint64_t wake_us, now = clock_boot_us();
        int err = take_bytes(x, port->fd);
        if (err)
            return err;
        exchange_step(x, now, &wake_us);
        if (now >= until_us)
            return 0;
        err = wait_for_bytes(port->fd, stop_fd, order_fd, wake_us && wake_us < until_us ? wake_us : until_us);
        if (err)
            return err < 0 ? err : 0;
    }
}
