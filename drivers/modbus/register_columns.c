/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/register_list.h"

enum { WORD_ROOM = 64 };

/* Letters and digits alone, in lower case. */
static void plain(const char *text, char *out)
{
    size_t len = 0;

    for (; *text && len + 1 < WORD_ROOM; text++)
        if (isalnum((unsigned char)*text))
            out[len++] = (char)tolower((unsigned char)*text);
    out[len] = 0;
}

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(word, *list))
            return true;
    return false;
}

/* ---- titles ---- */

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct {
    const char *name;
    const char *const *titles;
} columns[COLUMNS] = {
    [COLUMN_ADDRESS] = {"address",
                        WORDS("address", "addr", "adr", "adresse", "register", "reg", "registeraddress",
                              "modbusaddress", "regaddr", "regaddress", "registernumber", "registerno",
                              "registernr", "regno", "startaddress", "startregister", "modbusregister",
                              "addressdec", "addressdecimal", "decaddress", "dec", "addresshex", "hexaddress",
                              "hex", "registerhex", "registerdec", "modbusaddr", "plcaddress",
                              "holdingregister", "inputregister", "direccion", "indirizzo")},
    [COLUMN_NAME] = {"name", WORDS("name", "parameter", "parametername", "tag", "tagname", "signal",
                                   "signalname", "variable", "variablename", "label", "bezeichnung", "point",
                                   "pointname", "measurand", "designation", "nom", "registername",
                                   "quantityname", "value", "measuredvalue", "messwert", "item")},
    [COLUMN_TYPE] = {"type", WORDS("type", "datatype", "format", "dataformat", "datentyp", "typ", "vartype",
                                   "encoding", "representation", "numberformat", "valuetype", "datatypes")},
    [COLUMN_SCALE] = {"scale", WORDS("scale", "scaling", "factor", "scalefactor", "scalingfactor",
                                     "multiplier", "resolution", "skalierung", "faktor", "multiplikator",
                                     "coefficient", "coeff", "scalar", "lsb", "weight")},
    [COLUMN_DIVISOR] = {"gain", WORDS("gain", "divisor", "divider", "div", "teiler")},
    [COLUMN_OFFSET] = {"offset", WORDS("offset", "valueoffset", "bias")},
    [COLUMN_UNIT] = {"unit", WORDS("unit", "units", "einheit", "uom", "engunit", "engineeringunit", "unite",
                                   "unidad")},
    [COLUMN_ACCESS] = {"access",
                       WORDS("access", "rw", "accessmode", "attribute", "readwrite", "permission", "zugriff",
                             "accesstype", "accessrights", "rorw", "mode", "readwriteaccess")},
    [COLUMN_TABLE] = {"function", WORDS("function", "functioncode", "fc", "fcode", "functioncodes", "table",
                                        "registertype", "regtype", "objecttype", "area", "memoryarea",
                                        "modbusfunction", "funktion", "funktionscode", "kind")},
    [COLUMN_COUNT] = {"count", WORDS("count", "length", "len", "size", "quantity", "numberofregisters",
                                     "words", "wordcount", "noofregisters", "numreg", "regs", "registers",
                                     "anzahl", "laenge", "registercount", "qty", "numregisters", "noofwords",
                                     "wordlength", "sizewords", "nbregisters", "registerlength")},
    [COLUMN_BIT] = {"bit", WORDS("bit", "bitno", "bitnumber", "bitposition", "bitpos", "bitindex")},
    [COLUMN_ORDER] = {"order",
                      WORDS("order", "byteorder", "wordorder", "endian", "endianness", "byteandwordorder")},
    [COLUMN_MIN] = {"min", WORDS("min", "minimum", "minvalue", "lowerlimit", "low")},
    [COLUMN_MAX] = {"max", WORDS("max", "maximum", "maxvalue", "upperlimit", "high")},
    [COLUMN_HELP] = {"description",
                     WORDS("description", "comment", "comments", "remark", "remarks", "note", "notes",
                           "bemerkung", "info", "beschreibung", "meaning", "details")},
};

const char *list_column_name(enum list_column c)
{
    return columns[c].name;
}

enum list_column list_column_of(const char *title, bool *hex)
{
    char word[WORD_ROOM];

    plain(title, word);
    *hex = strstr(word, "hex") != NULL;
    for (enum list_column c = 0; c < COLUMNS; c++)
        if (is_one_of(word, columns[c].titles))
            return c;
    return COLUMNS;
}

/* ---- numbers ---- */

/* "1,500" may be one and a half or fifteen hundred; "0,500" is a half. */
static bool is_doubtful(const char *text, const char *comma)
{
    return comma && strspn(comma + 1, "0123456789") == 3 && !isdigit((unsigned char)comma[4]) &&
           strcspn(text, "123456789") < (size_t)(comma - text);
}

/* "1234,5" and "1,5" are decimals. */
static bool read_decimal(const char *text, double *out, const char **rest)
{
    char copy[WORD_ROOM];
    const char *comma = strchr(text, ',');
    char *end;

    if (strlen(text) >= sizeof copy || !strpbrk(text, "0123456789") || strpbrk(text, "xXnNiIpP"))
        return false;
    if (is_doubtful(text, comma))
        return false;
    strcpy(copy, text);
    if (comma && !strchr(text, '.') && !strchr(comma + 1, ','))
        copy[comma - text] = '.';
    *out = strtod(copy, &end);
    *rest = text + (end - copy);
    return end != copy && isfinite(*out);
}

bool list_number(const char *text, double *out)
{
    const char *rest;
    double below;
    bool divide = *text == '/';

    while (*text && strchr("x*/ ", *text))
        text++;
    if (!strncmp(text, "10^", 3)) {
        if (!read_decimal(text + 3, out, &rest) || *rest || fabs(*out) > 12)
            return false;
        *out = pow(10, *out);
        return true;
    }
    if (!read_decimal(text, out, &rest))
        return false;
    if (*rest == '/' && read_decimal(rest + 1, &below, &rest) && below != 0)
        *out /= below;
    if (divide && *out != 0)
        *out = 1 / *out;
    return !*rest && isfinite(*out);
}

/* ---- tables, access, orders ---- */

static const char *const table_words[4][10] = {
    {"coil", "coils", "0x", "digitaloutput", "do", "discreteoutput", "co", "coilstatus", NULL},
    {"discrete", "discreteinput", "discreteinputs", "1x", "digitalinput", "di", "inputstatus", "contact",
     NULL},
    {"input", "inputregister", "inputregisters", "3x", "ir", "analoginput", "inputreg", NULL},
    {"holding", "holdingregister", "holdingregisters", "4x", "hr", "holdingreg", "analogoutput", "register",
     NULL},
};

int register_list_table(const char *name)
{
    static const char *const names[] = {"coil", "discrete", "input", "holding"};

    for (int i = 0; i < 4; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

bool list_table(const char *text, int *out)
{
    static const int of_code[] = {-1, 0, 1, 3, 2, 0, 3};
    char word[WORD_ROOM];
    size_t at;

    plain(text, word);
    for (int t = 0; t < 4; t++)
        if (is_one_of(word, table_words[t])) {
            *out = t;
            return true;
        }
    /* The first code of "FC03", "0x04", "3, 6, 16"; those of writing tell as much. */
    at = strcspn(text, "0123456789");
    if (!strncasecmp(text + at, "0x", 2))
        at += 2;
    long code = isdigit((unsigned char)text[at]) ? strtol(text + at, NULL, 10) : 0;
    if (code == 15 || code == 16)
        code -= 10;
    if (code < 1 || code > 6)
        return false;
    *out = of_code[code];
    return true;
}

bool list_access(const char *text, bool *read, bool *write)
{
    char word[WORD_ROOM];

    plain(text, word);
    *write = is_one_of(word, WORDS("rw", "wr", "w", "wo", "readwrite", "write", "writeonly", "writable",
                                   "rwr", "yes", "schreiben", "lesenschreiben"));
    *read = !is_one_of(word, WORDS("w", "wo", "writeonly", "write", "schreiben"));
    return *write || is_one_of(word, WORDS("r", "ro", "read", "readonly", "no", "lesen", "ronly"));
}

const char *list_order(const char *text)
{
    static const struct {
        const char *word, *order;
    } orders[] = {
        {"abcd", "ABCD"},      {"cdab", "CDAB"},     {"badc", "BADC"},         {"dcba", "DCBA"},
        {"bigendian", "ABCD"}, {"big", "ABCD"},      {"be", "ABCD"},           {"msb", "ABCD"},
        {"msbfirst", "ABCD"},  {"msw", "ABCD"},      {"mswfirst", "ABCD"},     {"highwordfirst", "ABCD"},
        {"lswfirst", "CDAB"},  {"lsw", "CDAB"},      {"lowwordfirst", "CDAB"}, {"wordswap", "CDAB"},
        {"swapped", "CDAB"},   {"byteswap", "BADC"}, {"littleendian", "DCBA"}, {"little", "DCBA"},
        {"le", "DCBA"},        {"1234", "ABCD"},     {"3412", "CDAB"},         {"2143", "BADC"},
        {"4321", "DCBA"}};
    char word[WORD_ROOM];

    plain(text, word);
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
        if (!strcmp(orders[i].word, word))
            return orders[i].order;
    return NULL;
}

/* ---- types ---- */

static bool has(const char *word, const char *part)
{
    return strstr(word, part) != NULL;
}

/* Bits that the words of a type's name tell, 0 for none. */
static unsigned bits_of(const char *word)
{
    static const unsigned sizes[] = {64, 48, 32, 16};
    char text[8];

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        snprintf(text, sizeof text, "%u", sizes[i]);
        if (has(word, text))
            return sizes[i];
    }
    if (has(word, "qword") || has(word, "longlong") || has(word, "lint"))
        return 64;
    if (has(word, "dword") || has(word, "dint") || has(word, "long") || has(word, "doubleword"))
        return 32;
    return has(word, "word") || has(word, "short") ? 16 : 0;
}

static bool is_unsigned(const char *word)
{
    size_t len = strlen(word);
    bool is_word = has(word, "word") && !has(word, "sword") && !has(word, "sdword") && !has(word, "sqword") &&
                   !has(word, "signed");

    return (word[0] == 'u' && (isdigit((unsigned char)word[1]) || has(word, "int") || has(word, "short") ||
                               has(word, "long"))) ||
           has(word, "unsigned") || is_word || (len && word[len - 1] == 'u') || has(word, "bitfield") ||
           has(word, "bitmap") || has(word, "enum") || has(word, "hex") || has(word, "bitmask");
}

static bool is_signed(const char *word)
{
    return has(word, "int") || has(word, "short") || has(word, "long") || has(word, "signed") ||
           has(word, "sword") || has(word, "sdword") || (word[0] == 's' && isdigit((unsigned char)word[1])) ||
           (word[0] == 'i' && isdigit((unsigned char)word[1]));
}

static bool pick(const char *const *names, unsigned bits, unsigned words, struct list_type *out)
{
    static const unsigned sizes[] = {16, 32, 48, 64};

    bits = bits ? bits : words ? words * 16 : 16;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        if (sizes[i] == bits && names[i]) {
            *out = (struct list_type){names[i], bits / 16};
            return !words || words == out->words;
        }
    return false;
}

static bool is_float(const char *word)
{
    return has(word, "float") || has(word, "real") || has(word, "single") || has(word, "ieee") ||
           has(word, "double") || (word[0] == 'f' && isdigit((unsigned char)word[1]));
}

static unsigned float_bits(const char *word, unsigned words)
{
    if (has(word, "64") || has(word, "lreal") || (has(word, "double") && !has(word, "32")))
        return 64;
    if (has(word, "16") && !has(word, "32"))
        return 16;
    return words == 4 && !has(word, "32") && !has(word, "single") ? 64 : 32;
}

bool list_type(const char *text, unsigned words, struct list_type *out)
{
    static const char *const floats[] = {"float16", "float32", NULL, "float64"};
    static const char *const bcds[] = {"bcd16", "bcd32", NULL, NULL};
    static const char *const whole[] = {"int16", "int32", "int48", "int64"};
    static const char *const counts[] = {"uint16", "uint32", "uint48", "uint64"};
    char word[WORD_ROOM];

    plain(text, word);
    if (!word[0])
        return pick(counts, 0, words, out);
    if (has(word, "int8") || has(word, "byte") || !strcmp(word, "u8") || !strcmp(word, "s8"))
        return false; /* half a register */
    if (is_one_of(word, WORDS("bool", "boolean", "bit", "coil", "digital", "binary"))) {
        *out = (struct list_type){"bool", 0};
        return words <= 1;
    }
    if (has(word, "doubleword"))
        return pick(is_signed(word) && !is_unsigned(word) ? whole : counts, 32, words, out);
    if (is_float(word))
        return pick(floats, float_bits(word, words), words, out);
    if (has(word, "str") || has(word, "char") || has(word, "ascii") || has(word, "text")) {
        *out = (struct list_type){"string", words};
        return words >= 1 && words <= 125;
    }
    if (has(word, "bcd"))
        return pick(bcds, bits_of(word), words, out);
    if (is_unsigned(word))
        return pick(counts, bits_of(word), words, out);
    return is_signed(word) && pick(whole, bits_of(word), words, out);
}

/* ---- names ---- */

/* What stands for a letter with a mark, as U+00C0 to U+00FF are in UTF-8: 0xc3 and this one's index. */
static const char *const latin[0x40] = {
    "a", "a", "a", "a", "ae", "a", "ae", "c", "e", "e", "e", "e", "i",  "i", "i",  "i",  /* À to Ï */
    "d", "n", "o", "o", "o",  "o", "oe", "",  "o", "u", "u", "u", "ue", "y", "th", "ss", /* Ð to ß */
    "a", "a", "a", "a", "ae", "a", "ae", "c", "e", "e", "e", "e", "i",  "i", "i",  "i",  /* à to ï */
    "d", "n", "o", "o", "o",  "o", "oe", "",  "o", "u", "u", "u", "ue", "y", "th", "y",  /* ð to ÿ */
};

/* The letters that a name has for the character at text, "" when it separates words. */
static const char *letters_of(const char *text, char room[2])
{
    unsigned char at = (unsigned char)text[0], next = (unsigned char)text[1];

    if (at == 0xc3 && next >= 0x80 && next <= 0xbf)
        return latin[next - 0x80];
    room[0] = at < 0x80 && isalnum(at) ? (char)tolower(at) : 0;
    room[1] = 0;
    return room;
}

void list_name(char *out, size_t most, const char *text)
{
    size_t at = 0;
    bool gap = false;

    for (char room[2]; *text; text += (unsigned char)*text == 0xc3 && text[1] ? 2 : 1) {
        const char *letters = letters_of(text, room);
        size_t len = strlen(letters);
        if (at + len + gap > most)
            break;
        if (len && gap && at)
            out[at++] = '_';
        gap = !len;
        memcpy(out + at, letters, len);
        at += len;
    }
    out[at] = 0;
}
