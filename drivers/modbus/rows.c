/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of Modbus devices and of their profiles, which say what is common to all devices of a kind: the
 * same but for who they are, and for what a profile knows beyond that. */
#include "drivers/modbus/config.h"
#include "drivers/modbus/value.h"
#include "drivers/port.h"
#include "drivers/publish.h"

static const struct conf_row clamp_rows[] = {
    {"min", CONF_FLOAT, .help = "smaller values become this"},
    {"max", CONF_FLOAT, .help = "larger values become this"},
    {0},
};

static const struct conf_row alarm_rows[] = {
    {"low_low", CONF_FLOAT, .help = "alarm low-low at or below this"},
    {"low", CONF_FLOAT, .help = "alarm low at or below this"},
    {"high", CONF_FLOAT, .help = "alarm high at or above this"},
    {"high_high", CONF_FLOAT, .help = "alarm high-high at or above this"},
    {"hysteresis", CONF_FLOAT, .def = "0", .min = 0, .max = 1e12,
     .help = "an alarm ends when the value is so far back inside its limit"},
    {"for", CONF_DURATION, .def = "0s", .min = 0, .max = 86400000,
     .help = "an alarm begins when the value has been beyond the limit for so long"},
    {0},
};

static const char *const verify_names[] = {"none", "readback", NULL};

static const struct conf_row write_rows[] = {
    {"function", CONF_INT, .min = 5, .max = 23,
     .help =
         "the Modbus code: 5 or 15 for coils, 6, 16 or 23 for registers, 22, 6 or 16 for a bit of one; the "
         "first that fits unless given"},
    {"min", CONF_FLOAT, .help = "smaller values are refused"},
    {"max", CONF_FLOAT, .help = "larger values are refused"},
    {"verify", CONF_CHOICE, .def = "none", .choices = verify_names,
     .help = "readback: the command has succeeded when a read gives what was written"},
    {"expire", CONF_DURATION, .def = "10s", .min = 100, .max = 86400000,
     .help = "a command that could not be sent for so long is given up"},
    {0},
};

#define POINT_ROWS                                                                                           \
    {"name", CONF_NAME, CONF_REQUIRED, .help = "the value's key in the payload"},                            \
        {"at",                                                                                               \
         CONF_STRING,                                                                                        \
         CONF_REQUIRED,                                                                                      \
         .min = 1,                                                                                           \
         .max = 64,                                                                                          \
         .help = "table and address: coil:5, discrete:5, input:7, holding:100, input:7.3 for a bit; "        \
                 "addresses as "                                                                             \
                 "on the wire, or from 1 where the device has base = 1, which also allows 40101"},           \
        {"type", CONF_CHOICE, .choices = value_type_names,                                                   \
         .help =                                                                                             \
             "what the registers hold; bool for coils and discrete inputs, bit for a bit of a register"},    \
        {"order", CONF_CHOICE, .choices = value_order_names,                                                 \
         .help = "order of the bytes on the wire, A the most significant; the device's unless given"},       \
        {"length", CONF_INT, .min = 1, .max = 250, .help = "characters of a string"},                        \
        {"layout", CONF_CHOICE, .def = "HL", .choices = value_layout_names,                                  \
         .help = "how a string's characters lie in registers: HL, two, the first in the high byte; LH, "     \
                 "two, the "                                                                                 \
                 "first in the low byte; H or L, one, in that byte"},                                        \
        {"scale", CONF_FLOAT, .def = "1", .help = "the value is what was read times this"},                  \
        {"offset", CONF_FLOAT, .def = "0", .help = "plus this"},                                             \
        {"clamp", CONF_GROUP, .rows = clamp_rows, .help = "limits that the value is kept within"},           \
        {"names", CONF_STRINGS, .help = "names of numbers, published in their place: \"3 = running\""},      \
        {"no_value", CONF_STRINGS,                                                                           \
         .help = "numbers in the registers by which the device says that it has no value: \"0x7FFF\""},      \
        {"unit", CONF_STRING, .min = 1, .max = 32, .help = "unit of measure (UCUM), as in Cel or kW"},       \
        {"deadband", CONF_FLOAT, .min = 0, .max = 1e300,                                                     \
         .help = "with publish = \"change\": the least change that is published"},                           \
        {"deadband_pct", CONF_FLOAT, .min = 0, .max = 1000,                                                  \
         .help = "the same, in percent of what was published last"},                                         \
        {"alarm", CONF_GROUP, .rows = alarm_rows, .help = "limits whose passing is an event"},               \
    {                                                                                                        \
        "write", CONF_GROUP,                                                                                 \
            .rows = write_rows,                                                                              \
            .help = "allows commands to {root}/{device}/set/{point}; even an empty group does"               \
    }

static const struct conf_row point_rows[] = {POINT_ROWS, {0}};

static const char *const wave_names[] = {"sine", "ramp", "counter", "constant", NULL};

static const struct conf_row sim_rows[] = {
    {"wave", CONF_CHOICE, .choices = wave_names,
     .help = "how the value goes; sine where there is room for it unless given"},
    {"min", CONF_FLOAT, .help = "least value, as it is published"},
    {"max", CONF_FLOAT, .help = "largest value; of a counter: what it gains in an hour beyond min"},
    {"period", CONF_DURATION, .def = "60s", .min = 100, .max = 86400000, .help = "of a sine or ramp"},
    {"text", CONF_STRING, .min = 0, .max = 250, .help = "of a string"},
    {0},
};

static const struct conf_row profile_point_rows[] = {
    POINT_ROWS,
    {"help", CONF_STRING, .min = 1, .max = 200, .help = "what the maker calls it"},
    {"when", CONF_STRING, .min = 1, .max = 100,
     .help = "the point is there only when this holds of a parameter: \"phases = 3\", or with >= or <="},
    {"scale_by", CONF_STRINGS, .help = "parameters that the scale is multiplied by"},
    {"offset_by", CONF_STRINGS, .help = "parameters that are added to the offset"},
    {"sim", CONF_GROUP, .rows = sim_rows, .help = "what sluice-sim plays"},
    {0},
};

#define GROUP_ROWS(points_)                                                                                  \
    {                                                                                                        \
        "every",   CONF_DURATION,          CONF_REQUIRED,                                                    \
        .min = 10, .max = 86400000.0 * 30, .help = "time between polls"},                                    \
        {"alarm_every", CONF_DURATION, .min = 10, .max = 86400000.0 * 30,                                    \
         .help = "time between polls while a point of the group is in alarm"},                               \
        {"publish", CONF_CHOICE, .def = "always", .choices = publish_mode_names,                             \
         .help = "every poll, or only what has changed"},                                                    \
        {"heartbeat", CONF_DURATION, .min = 100, .max = 86400000.0 * 30,                                     \
         .help = "publish after this time even if nothing has changed"},                                     \
        {"min_interval",                                                                                     \
         CONF_DURATION,                                                                                      \
         .def = "0s",                                                                                        \
         .min = 0,                                                                                           \
         .max = 86400000.0 * 30,                                                                             \
         .help = "publish a point at most once in this time, unless its quality changes"},                   \
        {"stale_after",                                                                                      \
         CONF_INT,                                                                                           \
         .def = "3",                                                                                         \
         .min = 1,                                                                                           \
         .max = 1000,                                                                                        \
         .help =                                                                                             \
             "so many polls in a row without an answer make the group's values stale, which is said once"},  \
        {"qos", CONF_INT, .def = "1", .min = 0, .max = 2, .help = "QoS that readings are published with"},   \
        {"retain", CONF_BOOL, .def = "false", .help = "keep the last reading for those who come later"},     \
        {"payload", CONF_CHOICE, .def = "group", .choices = publish_payload_names,                           \
         .help = "one JSON message for the group, one for each point, or each point's value alone as text"}, \
    {                                                                                                        \
        "points", CONF_LIST, CONF_REQUIRED, .rows = points_, .help = "what is read"                          \
    }

static const struct conf_row group_rows[] = {GROUP_ROWS(point_rows), {0}};
static const struct conf_row profile_group_rows[] = {GROUP_ROWS(profile_point_rows), {0}};

static const struct conf_row limit_rows[] = {
    {"registers", CONF_INT, .def = "125", .min = 1, .max = 125, .help = "most registers in one request"},
    {"bits", CONF_INT, .def = "2000", .min = 1, .max = 2000,
     .help = "most coils or discrete inputs in one request"},
    {"gap", CONF_INT, .min = 0, .max = 125,
     .help = "most registers that nobody wants between two that are read together; by what they cost on this "
             "line unless given"},
    {"forbidden", CONF_STRINGS, .help = "addresses that no request touches: \"holding:100-119\""},
    {0},
};

#define SHARED_ROWS                                                                                          \
    {"base",                                                                                                 \
     CONF_INT,                                                                                               \
     .def = "0",                                                                                             \
     .min = 0,                                                                                               \
     .max = 1,                                                                                               \
     .help = "number of the first register or bit in this device's list: 0 as on the wire, 1 as in 40001"},  \
        {"order", CONF_CHOICE, .choices = value_order_names,                                                 \
         .help = "order of the bytes on the wire, A the most significant; the line's unless given"},         \
        {"response", CONF_DURATION, .min = 10, .max = 60000,                                                 \
         .help =                                                                                             \
             "how long this unit may take to begin its answer; the line's timing.response unless given"},    \
    {                                                                                                        \
        "limits", CONF_GROUP, .def = "", .rows = limit_rows, .help = "what the device can be asked"          \
    }

const struct conf_row modbus_device_rows[] = {
    {"unit", CONF_INT, CONF_REQUIRED, .min = 0, .max = 255,
     .help = "the device's address on the line, 1 to 247; over TCP 0 and 255 are often the device itself"},
    {"profile", CONF_STRING, .min = 1, .max = 80,
     .help = "what kind of device it is: a file of profile_path without .conf, with its points, types and "
             "limits; "
             "\"NAME@2\" takes version 2 alone"},
    {"with", CONF_NUMBERS, .help = "the profile's parameters"},
    {"without", CONF_STRINGS,
     .help = "groups (\"energy\") and points (\"power/thd\") of the profile to leave out"},
    SHARED_ROWS,
    {"groups", CONF_TABLE, CONF_REQUIRED, .rows = group_rows,
     .help = "points that are read together; beside a profile's, what differs and what is to be added"},
    {0},
};

static const struct conf_row serial_rows[] = {
    {"baud", CONF_INT, CONF_REQUIRED, .min = 300, .max = 4000000, .help = "bits a second"},
    {"format", CONF_CHOICE, CONF_REQUIRED, .choices = serial_format_names,
     .help = "data bits, parity, stop bits"},
    {0},
};

static const char *const parameter_types[] = {"int", "float", NULL};

static const struct conf_row parameter_rows[] = {
    {"type", CONF_CHOICE, .def = "float", .choices = parameter_types, .help = "whole numbers only, or any"},
    {"min", CONF_FLOAT, CONF_REQUIRED, .help = "least value"},
    {"max", CONF_FLOAT, CONF_REQUIRED, .help = "largest value"},
    {"default", CONF_FLOAT, CONF_REQUIRED, .help = "value of a device that gives none"},
    {"help", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 200, .help = "what it is for"},
    {0},
};

const struct conf_row modbus_profile_rows[] = {
    {"version", CONF_INT, CONF_REQUIRED, .min = 1, .max = 9999,
     .help = "rises when a point changes its meaning"},
    {"title", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 120, .help = "what it is"},
    {"maker", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 80, .help = "who makes it"},
    {"document", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 200,
     .help = "the public register list that it was written from"},
    {"notes", CONF_STRINGS, .help = "what whoever uses it should know"},
    {"changes", CONF_STRINGS, .help = "what each version changed: \"2: import in Wh\""},
    {"serial", CONF_GROUP, .rows = serial_rows, .help = "how the device leaves the factory"},
    {"parameters", CONF_TABLE, .rows = parameter_rows, .help = "what differs from device to device"},
    SHARED_ROWS,
    {"groups", CONF_TABLE, CONF_REQUIRED, .rows = profile_group_rows,
     .help = "points that are read together"},
    {0},
};
