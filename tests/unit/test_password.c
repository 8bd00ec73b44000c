/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of passwords: entries of ours and of mosquitto's, SCRAM verifiers with the examples of RFC
 * 5802 and RFC 7677, damage of every kind; and the users file as sluicectl writes it and the daemon reads it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/password.h"
#include "base/users.h"

/* As mosquitto_passwd 2.0.11 made it of "pen cil". */
static const char foreign[] =
    "$7$101$QLMDgTlQLscHcI3s$Vkr/"
    "nA3CfEIp3hZ2CCiGODtfbsczk0PYcsELJjCGWHCJh9ohs8DPqv8TyEN5gEE9jmqYe5ZZ+H9VzcAqL1TYcw==";
static const char hash_64[] =
    "hn9wzxreAs/zdSWZo6U9xK80x6ZpgVrl1ROhN3cBdvLALUZA8nWjUBfFq5/p8yDNqXGjBKqoR0cXVChS5QHtBw==";

static void expect_wrong(const char *text)
{
    struct password_entry e;
    const char *why = NULL;

    assert_int_equal(password_parse(&e, text, &why), -EINVAL);
    assert_non_null(why);
    assert_null(strstr(why, "hn9w")); /* an entry is never shown */
}

static void test_entries(void **state)
{
    struct password_entry e;
    const char *why;

    (void)state;
    char *text = password_make(bytes_of("open sesame"), 1000);
    char *again = password_make(bytes_of("open sesame"), 1000);
    assert_string_not_equal(text, again); /* salted */
    assert_int_equal(strncmp(text, "$pbkdf2-sha512$1000$", 20), 0);
    assert_int_equal(password_parse(&e, text, &why), 0);
    assert_int_equal(e.count, 1000);
    assert_true(e.salt_len >= 16);
    assert_true(password_matches(&e, bytes_of("open sesame")));
    assert_false(password_matches(&e, bytes_of("open Sesame")));
    assert_false(password_matches(&e, bytes_of("")));
    free(text);
    free(again);
}

static void test_binary_password(void **state)
{
    const struct bytes with_zero = {(const uint8_t *)"a\0b", 3}, before_it = {(const uint8_t *)"a", 1};
    struct password_entry e;
    const char *why;

    (void)state;
    char *text = password_make(with_zero, 1000);
    assert_int_equal(password_parse(&e, text, &why), 0);
    assert_true(password_matches(&e, with_zero));
    assert_false(password_matches(&e, before_it));
    free(text);
}

static void test_mosquittos_entry(void **state)
{
    struct password_entry e;
    const char *why;

    (void)state;
    assert_int_equal(password_parse(&e, foreign, &why), 0);
    assert_true(password_matches(&e, bytes_of("pen cil")));
    assert_false(password_matches(&e, bytes_of("pencil")));
}

static void test_damaged_entries(void **state)
{
    static const char *const wrong[] = {
        "",
        "secret",
        "$6$AAAAAAAAAAAAAAAA$", /* another scheme of mosquitto's, without a count */
        "$7$",
        "$7$0$c2FsdHNhbHQ=$",
        "$7$101$c2FsdHNhbHQ=$",
        "$7$101$c2FsdHNhbHQ=$AAAA",
        "$pbkdf2-sha512$1000",
        "$pbkdf2-sha512$99999999999$c2FsdHNhbHQ=$",
        "$pbkdf2-sha512$-1$c2FsdHNhbHQ=$",
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        expect_wrong(wrong[i]);
    static const char *const heads[] = {"$7$0$c2FsdHNhbHQ=$",        "$7$01$c2FsdHNhbHQ=$",
                                        "$7$50000001$c2FsdHNhbHQ=$", "$7$1x$c2FsdHNhbHQ=$",
                                        "$7$101$c2FsdA==$", /* a salt of 4 bytes */
                                        "$7$101$c2Fs*HNhbHQ=$",      "$7$101$$"};
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        snprintf(text, sizeof(text), "%s%s", heads[i], hash_64);
        expect_wrong(text);
    }
    snprintf(text, sizeof(text), "$7$101$c2FsdHNhbHQ=$%s$", hash_64);
    expect_wrong(text);
    snprintf(text, sizeof(text), "$7$101$c2FsdHNhbHQ=$%s ", hash_64);
    expect_wrong(text);
    struct password_entry e;
    const char *why;
    snprintf(text, sizeof(text), "$7$101$c2FsdHNhbHQ=$%s",
             hash_64); /* and this is what a right one looks like */
    assert_int_equal(password_parse(&e, text, &why), 0);
    for (size_t len = 0; len < strlen(text); len++) {
        char *cut = mem_strndup(text, len);
        expect_wrong(cut);
        free(cut);
    }
}

static void test_calibration(void **state)
{
    (void)state;
    unsigned little = password_calibrate(1), much = password_calibrate(100);
    assert_true(little >= 10000); /* never weaker, however slow the box */
    assert_true(much >= little && much <= PASSWORD_COUNT_MOST);
}

/* ---- SCRAM ---- */

static void expect_example(enum crypto_hash hash, const char *salt, const char *text)
{
    struct scram_verifier made, parsed;
    uint8_t bytes[32];
    size_t len;
    const char *why;

    assert_int_equal(crypto_base64_decode(salt, bytes, sizeof(bytes), &len), 0);
    const struct bytes given = {bytes, len};
    scram_derive(&made, hash, bytes_of("pencil"), 4096, &given);
    char *out = scram_text(&made);
    assert_string_equal(out, text);
    assert_int_equal(scram_parse(&parsed, out, &why), 0);
    assert_int_equal(parsed.hash, hash);
    assert_int_equal(parsed.count, 4096);
    assert_memory_equal(parsed.salt, bytes, len);
    assert_memory_equal(parsed.stored, made.stored, crypto_hash_len(hash));
    assert_memory_equal(parsed.server, made.server, crypto_hash_len(hash));
    for (size_t cut = 0; cut < strlen(out); cut++) {
        char *part = mem_strndup(out, cut);
        assert_int_equal(scram_parse(&parsed, part, &why), -EINVAL);
        free(part);
    }
    free(out);
}

/* RFC 7677 §3 and RFC 5802 §5. */
static void test_scram_examples(void **state)
{
    (void)state;
    expect_example(CRYPTO_SHA256, "W22ZaJ0SNY7soEsUEjb6gQ==",
                   "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                   "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    expect_example(
        CRYPTO_SHA1, "QSXCR+Q6sek8bf92",
        "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=");
}

static void test_scram_salts(void **state)
{
    struct scram_verifier a, b;

    (void)state;
    scram_derive(&a, CRYPTO_SHA256, bytes_of("pencil"), 4096, NULL);
    scram_derive(&b, CRYPTO_SHA256, bytes_of("pencil"), 4096, NULL);
    assert_memory_not_equal(a.salt, b.salt, a.salt_len);
}

/* ---- the users file ---- */

static char folder[] = "/tmp/sluice-users-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void test_users_file(void **state)
{
    const char *const scram[] = {"one", "two", NULL}, *const roles[] = {"op\"er\\ator", NULL};
    const struct users_file_entry users[] = {{"a \"b\" \\c", "entry", scram, roles},
                                             {"plain", NULL, NULL, NULL}};
    char *path = mem_format("%s/users.conf", folder);
    struct stat st;

    (void)state;
    assert_int_equal(users_file_write(path, users, 2), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct conf *c = users_file_load(path);
    assert_int_equal(conf_errors(c), 0);
    const struct conf_node *root = conf_root(c), *first = conf_at(root, "users", 0);
    assert_int_equal(conf_count(root, "users"), 2);
    assert_string_equal(conf_string(first, "name"), "a \"b\" \\c");
    assert_string_equal(conf_string(first, "password"), "entry");
    assert_int_equal(conf_count(first, "scram"), 2);
    assert_string_equal(conf_at(first, "roles", 0)->s, "op\"er\\ator");
    assert_null(conf_string(conf_at(root, "users", 1), "password"));
    conf_free(c);
    assert_int_equal(users_file_write(path, NULL, 0), 0); /* nobody, and said so */
    c = users_file_load(path);
    assert_int_equal(conf_errors(c), 0);
    conf_free(c);
    unlink(path);
    free(path);
}

static void expect_file_refused(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
    struct conf *c = users_file_load(path);
    assert_true(conf_errors(c) > 0);
    conf_free(c);
}

static void test_bad_users_files(void **state)
{
    char *path = mem_format("%s/users.conf", folder);

    (void)state;
    expect_file_refused(path, "", 0600);
    expect_file_refused(path, "users = ( );", 0640); /* others could read it */
    expect_file_refused(path, "users = ( { name = \"a\"; } ", 0600);
    expect_file_refused(path, "users = ( { password = \"a\"; } );", 0600);
    expect_file_refused(path, "state_dir = \"/\";", 0600);
    unlink(path);
    struct conf *c = users_file_load(path); /* not there */
    assert_true(conf_errors(c) > 0);
    conf_free(c);
    free(path);
}

static void test_user_names(void **state)
{
    char longest[USER_NAME_MOST + 2];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[USER_NAME_MOST + 1] = 0;
    assert_non_null(user_name_wrong(longest));
    longest[USER_NAME_MOST] = 0;
    assert_null(user_name_wrong(longest));
    assert_null(user_name_wrong("Jürgen"));
    assert_non_null(user_name_wrong(""));
    assert_non_null(user_name_wrong("a\nb"));
    assert_non_null(user_name_wrong("a\x7f"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),          cmocka_unit_test(test_binary_password),
        cmocka_unit_test(test_mosquittos_entry), cmocka_unit_test(test_damaged_entries),
        cmocka_unit_test(test_calibration),      cmocka_unit_test(test_scram_examples),
        cmocka_unit_test(test_scram_salts),      cmocka_unit_test(test_users_file),
        cmocka_unit_test(test_bad_users_files),  cmocka_unit_test(test_user_names),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
