/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/frame_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

struct sim_frame_log {
    FILE *file;
};

int sim_frame_log_open(struct sim_frame_log **out, const char *path)
{
    FILE *file = fopen(path, "we");

    *out = NULL;
    if (!file)
        return -errno;
    setvbuf(file, NULL, _IOLBF, 8192);
    *out = mem_alloc(sizeof(**out));
    (*out)->file = file;
    return 0;
}

void sim_frame_log_start(struct sim_frame_log *log, const struct sim_timing *timing, uint64_t seed)
{
    int64_t wall = clock_wall_us();
    char text[32];

    if (!log)
        return;
    clock_format(wall, text);
    fprintf(log->file,
            "# started %s (%" PRId64 " us of 1970), seed %" PRIu64
            ", %u baud, %u bits a character, silence %" PRIu64 " us\n",
            text, wall, seed, timing->baud, timing->char_bits, timing->silence_ns / 1000);
    fputs("start_us,end_us,who,unit,hex,notes\n", log->file);
}

void sim_frame_log_write(void *arg, const struct sim_frame *f)
{
    struct sim_frame_log *log = arg;
    char hex[2 * 1024 + 1];
    size_t len = f->bytes.len < 1024 ? f->bytes.len : 1024;

    if (!log)
        return;
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", f->bytes.data[i]);
    hex[2 * len] = 0;
    fprintf(log->file, "%" PRIu64 ",%" PRIu64 ",%s,", f->start_ns / 1000, f->end_ns / 1000, f->who);
    if (len)
        fprintf(log->file, "%u", f->bytes.data[0]);
    fprintf(log->file, ",%s,%s\n", hex, *f->notes ? f->notes + 1 : "");
}

void sim_frame_log_close(struct sim_frame_log *log)
{
    if (!log)
        return;
    fclose(log->file);
    free(log);
}
