/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

struct world w;
char tls_dir[] = "/tmp/test_tls.XXXXXX";

/* NAME.pem and NAME.key; "other" is another plant's CA. */
static const char make_certificates[] =
    "set -e; cd $DIR; exec >log 2>&1\n"
    "touch index.txt; echo 01 >serial\n"
    "cat >ca.cnf <<END\n"
    "[ca]\ndefault_ca=it\n"
    "[it]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\nunique_subject="
    "no\n"
    "[any]\ncommonName=supplied\n"
    "END\n"
    "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "
    "\"/CN=$2\""
    " -keyout $1.key -out $1.pem; }\n"
    "cert() { ca=$1 name=$2 subject=$3 names=$4 from=$5 to=$6\n"
    "  openssl req -newkey ${KEY:-ec -pkeyopt ec_paramgen_curve:prime256v1} -nodes -subj \"/CN=$subject\" "
    "-keyout $name.key"
    " -out $name.csr\n"
    "  : >$name.ext; test -z \"$names\" || echo subjectAltName=$names >$name.ext\n"
    "  openssl ca -batch -notext -config ca.cnf -cert $ca.pem -keyfile $ca.key -in $name.csr -out $name.pem"
    " -extfile $name.ext -startdate ${from:-20250101000000Z} -enddate ${to:-20490101000000Z}; }\n"
    "ca ca 'plant CA'; ca other 'other CA'\n"
    "cert ca right mq.example.com DNS:mq.example.com,IP:127.0.0.1\n"
    "KEY=rsa:2048 cert ca rsa mq.example.com DNS:mq.example.com\n"
    "cert ca elsewhere elsewhere DNS:other.example,DNS:www.other.example\n"
    "cert ca expired mq.example.com DNS:mq.example.com 20250101000000Z 20260102000000Z\n"
    "cert ca future mq.example.com DNS:mq.example.com 20480101000000Z\n"
    "cert ca client plant7\n"
    "cert other stranger stranger\n"
    "openssl ec -in right.key -aes128 -passout pass:secret -out locked.key\n"
    "head -c 300 right.pem >broken.pem\n"
    "cat ca.pem other.pem >both.pem\n";

const char *file(const char *name)
{
    static char path[8][64];
    static int turn;

    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", tls_dir, name);
    return path[turn];
}

int tls_make_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(tls_dir));
    setenv("DIR", tls_dir, 1);
    if (system(make_certificates) == 0)
        return 0;
    return system("cat $DIR/log >&2; false");
}

int tls_remove_all(void **state)
{
    (void)state;
    return system("rm -r $DIR");
}

int tls_set_up(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

int tls_tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

/* --- the openssl command as a peer --- */

void child_start(struct child *c, const char *fmt, ...)
{
    int in[2], out[2];
    va_list args;

    va_start(args, fmt);
    char *command = mem_vformat(fmt, args);
    va_end(args);
    memset(c, 0, sizeof(*c));
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c->pid = fork();
    if (!c->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        assert_int_equal(chdir(tls_dir), 0);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    free(command);
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    fcntl(c->out, F_SETFL, O_NONBLOCK);
}

bool child_said(struct child *c, const char *text)
{
    char chunk[4096];
    ssize_t len;

    while ((len = read(c->out, chunk, sizeof(chunk))) > 0)
        buf_append(&c->said, chunk, (size_t)len);
    buf_u8(&c->said, 0);
    c->said.len--;
    return strstr((char *)c->said.data, text);
}

void child_say(struct child *c, const char *text)
{
    assert_int_equal(write(c->in, text, strlen(text)), strlen(text));
}

void child_stop(struct child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->in);
    close(c->out);
    buf_free(&c->said);
}

/* --- contexts --- */

struct tls_context *server_context(const char *name, const char *client_ca)
{
    char cert[64], key[64], error[300] = "";
    struct tls_context *t = NULL;

    snprintf(cert, sizeof(cert), "%s/%s.pem", tls_dir, name);
    snprintf(key, sizeof(key), "%s/%s.key", tls_dir, name);
    struct tls_server_config config = {cert, key, client_ca ? file(client_ca) : NULL};
    if (tls_server_new(&t, &config, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

struct tls_context *client_context(const char *ca, const char *name, const char *alpn)
{
    char cert[64], key[64], error[300] = "";
    struct tls_context *t = NULL;

    snprintf(cert, sizeof(cert), "%s/%s.pem", tls_dir, name ? name : "");
    snprintf(key, sizeof(key), "%s/%s.key", tls_dir, name ? name : "");
    struct tls_client_config config = {file(ca), name ? cert : NULL, name ? key : NULL, alpn};
    if (tls_client_new(&t, &config, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

struct end *end_tls(uint16_t port, struct tls_context *t, const char *name)
{
    struct conn_target target = {
        .host = "127.0.0.1", .port = port, .tls = t, .server_name = name, .timeout_ms = 20000};

    return end_connect_to(&w, &target);
}
