/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a register list: what comes out is a profile without mistakes, whose points can be read. The
 * first byte chooses the settings. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/mem.h"
#include "drivers/modbus/config.h"
#include "drivers/modbus/point.h"
#include "drivers/modbus/register_list.h"

static void tell(void *arg, int line, const char *text)
{
    *(size_t *)arg += (size_t)(line >= 0) + strlen(text);
}

/* The profile stands for the line and the device, whose order and base are its. */
static size_t read_points(const struct conf *c)
{
    const struct conf_node *root = conf_root(c), *group = conf_at(root, "groups", 0);
    char error[256];
    size_t count = conf_count(group, "points");

    for (size_t i = 0; i < count; i++) {
        struct modbus_point p;
        if (!modbus_point_read(root, root, conf_at(group, "points", i), &p, error, sizeof error))
            abort();
        modbus_point_free(&p);
    }
    return count;
}

static void check(const struct list_result *r)
{
    static const struct conf_row *const tables[] = {modbus_profile_rows};
    char *text = mem_format("version = 1; title = \"a\"; maker = \"b\"; document = \"c\";\n%s",
                            (const char *)r->text.data);
    struct conf *c = conf_load_text("list.conf", text, tables, 1);

    if (conf_errors(c) || read_points(c) != r->points)
        abort();
    conf_free(c);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct list_result r;
    size_t said = 0;

    if (!size)
        return 0;
    struct list_settings s = {.base = data[0] % 3 - 1,
                              .table = data[0] / 3 % 5 - 1,
                              .numbers = data[0] / 15 % 3,
                              .with_help = data[0] / 45 % 2,
                              .order = data[0] / 90 % 2 ? "CDAB" : NULL};
    register_list_read(&r, (struct bytes){data + 1, size - 1}, &s, "  ", tell, &said);
    if (r.points > r.rows || (r.rows > r.points && !said) || (r.refused && !said))
        abort();
    if (r.points)
        check(&r);
    buf_free(&r.text);
    return 0;
}
