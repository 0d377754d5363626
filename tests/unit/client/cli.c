/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the lockstep command (its path is the only argument) as people do: kv against a real node (node.h), status and
 * log against a socket that answers as lockstep-ctrl does. In a network namespace of its own, because the cluster file
 * takes no loopback addresses; skipped where none may be made.
 */
#include <stdatomic.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node.h"

#define PORT 7455
#define IP   0x0a070001u /* 10.7.0.1 */

static const char *program;
static char folder[] = "/tmp/lockstep-cli-XXXXXX";
static struct node *node;
static char out[1 << 20];
static char err[1 << 16];

/* ---- running ---- */

static void file_write(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void file_read(const char *name, char *to, size_t room)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(to, 1, room - 1, file);
    to[length] = 0;
    fclose(file);
}

/* `lockstep ARGUMENTS` by the shell, in the folder; returns the exit code, `out` and `err` are what it said. */
static int run(const char *arguments)
{
    char command[2048];
    snprintf(command, sizeof(command), "cd %s && exec >out 2>err && export LOCKSTEP_CONFIG=c.yaml && %s %s", folder,
             program, arguments);
    int rc = system(command);
    file_read("out", out, sizeof(out));
    file_read("err", err, sizeof(err));
    assert_true(WIFEXITED(rc));
    return WEXITSTATUS(rc);
}

#define assert_run(code, arguments)                                                                                    \
    do {                                                                                                               \
        int got = run(arguments);                                                                                      \
        if (got != (code))                                                                                             \
            print_message("lockstep %s: %d\n%s%s", arguments, got, out, err);                                          \
        assert_int_equal(got, code);                                                                                   \
    } while (0)

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

/* ---- kv ---- */

static void single_keys(void **state)
{
    assert_run(1, "kv get a");
    assert_has(err, "no such key");
    assert_run(0, "kv put a 'one two'");
    assert_run(0, "kv get a");
    assert_string_equal(out, "one two\n");
    assert_run(0, "kv get a --raw");
    assert_string_equal(out, "one two");
    assert_run(0, "kv get a --json");
    assert_has(out, "\"value\":\"one two\"");
    assert_run(0, "kv append a ' three'");
    assert_string_equal(out, "13\n");
    assert_run(0, "kv incr n");
    assert_run(0, "kv incr n --by -8");
    assert_string_equal(out, "-7\n");
    assert_run(4, "kv incr a");
    assert_has(err, "NOT_A_NUMBER");
    assert_run(1, "kv cas a x --version 0");
    assert_has(out, "version is ");
    unsigned long version = strtoul(out + strlen("version is "), NULL, 10);
    char command[64];
    snprintf(command, sizeof(command), "kv cas a x --version %lu --json", version);
    assert_run(0, command);
    assert_has(out, "\"status\":\"OK\"");
    assert_has(out, "\"durability\":\"memory\"");
    assert_run(1, "kv put a x --durability journal"); /* this cluster keeps no journal: it says so */
    assert_has(err, "with durability memory and not journal");
    assert_run(0, "kv put a x --durability memory");
    assert_run(2, "kv put a x --durability disk");
    assert_run(1, "kv del a --version 1");
    assert_run(0, "kv del a");
    assert_run(1, "kv del a");
    assert_run(0, "kv get n --consistency stale --json --node 1");
    assert_has(out, "age_ns");
    assert_run(0, "kv get n --least 1");
}

static void values_from_files(void **state)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/large", folder);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 500000; i++)
        fputc(i % 251, file);
    fclose(file);
    assert_run(0, "kv put large --file large");
    assert_run(0, "kv get large --raw >copy");
    char command[600];
    snprintf(command, sizeof(command), "cmp %s/large %s/copy", folder, folder);
    assert_int_equal(system(command), 0);
    assert_run(0, "kv get large --json");
    assert_has(out, "\"base64\":");
    assert_run(0, "kv put small --file - < c.yaml");
    assert_run(6, "kv put x --file /none");
    assert_run(2, "kv put x y --file large");
    assert_run(2, "kv put x");
    file_write("toolong", "");
    snprintf(command, sizeof(command), "head -c 1048577 /dev/zero > %s/toolong", folder);
    assert_int_equal(system(command), 0);
    assert_run(2, "kv put x --file toolong");
    assert_has(err, "1 MiB");
}

static void loads_and_scans(void **state)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/lines", folder);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 3000; i++)
        fprintf(file, "load/%04d\tvalue %d\n", i, i);
    fclose(file);
    assert_run(0, "kv load lines");
    assert_has(out, "3000 of 3000 lines loaded, 0 failed");
    assert_run(0, "kv scan load/");
    int lines = 0;
    for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 3000);
    assert_int_equal(strncmp(out, "load/0000\tvalue 0\nload/0001\t", 28), 0);
    assert_run(0, "kv scan --from load/0100 --to load/0103");
    assert_string_equal(out, "load/0100\tvalue 100\nload/0101\tvalue 101\nload/0102\tvalue 102\n");
    assert_run(0, "kv scan load/ --limit 2 --keys-only");
    assert_string_equal(out, "load/0000\nload/0001\n");
    assert_run(0, "kv scan load/ --limit 1 --json");
    assert_has(out, "\"key\":\"load/0000\"");
    assert_run(0, "kv scan nothing/");
    assert_string_equal(out, "");
    assert_run(2, "kv scan a --from b");

    /* what scan prints, load understands */
    file_write("escapes", "esc\\x01\\ta\tv\\n\\\\\n");
    assert_run(0, "kv load escapes --escaped");
    assert_run(0, "kv scan esc");
    assert_string_equal(out, "esc\\x01\\ta\tv\\n\\\\\n");

    file_write("bad", "good1\t1\n\nno tab here\ngood2\t2\n");
    assert_run(2, "kv load bad");
    assert_has(err, "bad:3: no tab");
    assert_run(1, "kv get good2");
    assert_run(2, "kv load bad --keep-going --json");
    assert_has(out, "\"loaded\":2");
    assert_run(0, "kv get good2");
    file_write("refused", "n2\t1\n\tno key\n");
    assert_run(2, "kv load refused");
    assert_has(err, "refused:2: a key has 1 to 250 bytes");
    file_write("trailing", "a\\\tb\n");
    assert_run(2, "kv load trailing --escaped");
    assert_run(6, "kv load none");
    assert_run(0, "kv load - < lines");
}

static void silence_has_codes_of_its_own(void **state)
{
    node_mute(node, true);
    assert_run(3, "kv get a --timeout 100ms");
    assert_has(err, "no answer within 0.1 s from 10.7.0.1:7455");
    assert_run(3, "kv put a b --timeout 100ms"); /* it never left: no session could be opened */
    assert_has(err, "nothing was done");
    assert_run(3, "kv load lines --timeout 100ms");
    assert_has(err, "lines:1: no node answers");
    assert_has(err, "and 63 lines behind it, up to line 64");
    node_mute(node, false);
}

static void command_lines_are_checked(void **state)
{
    assert_run(2, "");
    assert_run(2, "frob");
    assert_run(2, "kv frob");
    assert_run(2, "kv get");
    assert_run(2, "kv get a b");
    assert_run(2, "kv get a --ttl 5s");
    assert_run(2, "kv put a b --ttl 5");
    assert_run(2, "kv put a b --ttl 99999999999999h");
    assert_run(2, "kv get a --consistency never");
    assert_run(2, "kv get a --node 9");
    assert_has(err, "there is no node 9");
    assert_run(2, "kv get a --node 0");
    assert_run(2, "kv incr a --by 1x");
    assert_run(2, "kv get '' ");
    assert_has(err, "1 to 250 bytes");
    assert_run(2, "kv get a -c none.yaml");
    assert_run(0, "--help");
    assert_run(0, "kv --help");
    static const char *const all[] = {"kv get",
                                      "kv put",
                                      "kv del",
                                      "kv cas",
                                      "kv incr",
                                      "kv append",
                                      "kv scan",
                                      "kv load",
                                      "status",
                                      "log dump",
                                      "log tail",
                                      "config check",
                                      "watch",
                                      "member add",
                                      "member remove",
                                      "member promote",
                                      "member replace",
                                      "sequencer move",
                                      "checkpoint create",
                                      "checkpoint list",
                                      "checkpoint verify",
                                      "checkpoint restore",
                                      "cluster recover",
                                      "cluster stop",
                                      "fault add",
                                      "fault list",
                                      "fault clear"};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char command[64];
        snprintf(command, sizeof(command), "%s --help", all[i]);
        assert_run(0, command);
        assert_has(out, all[i]);
        assert_has(out, "Exit codes");
    }
    assert_run(0, "config check");
    assert_run(0, "config check c.yaml --json");
    file_write("wrong.yaml", "cluster: 3\n");
    assert_run(2, "config check wrong.yaml");
    assert_has(err, "wrong.yaml:1");
    assert_run(6, "kv --help >/dev/full");
}

/* ---- status and log ---- */

static const char *_Atomic status_body; /* the test sets it, the server thread reads it */
static uint64_t log_last = 25;

static const char status_good[] =
    "{\"node\":1,\"cluster\":\"demo\",\"epoch\":4,\"role\":\"sequencer\",\"sequencer\":1,\"problem\":\"\","
    "\"members\":[{\"node\":1,\"role\":\"voter\",\"address\":\"10.7.0.1:7455\",\"heard_ms\":0.0,\"acked\":900,"
    "\"applied_seq\":7,\"lag\":0,\"replica\":\"sequencer\",\"counts\":true,\"linked\":true},"
    "{\"node\":2,\"role\":\"learner\",\"address\":\"10.7.0.2:7455\",\"heard_ms\":null,\"lag\":12,\"stalled\":true,"
    "\"counts\":false,\"linked\":false}],\"newest_seq\":7,\"alarms\":[\"node 2: no link\"],\"change\":\"\","
    "\"dataplane\":{\"alive\":true,\"pid\":77,\"incarnation\":3,\"last\":1000,\"last_seq\":8,\"commit\":960,"
    "\"applied\":960,\"applied_seq\":7,\"digest\":\"00ff\",\"digest_seq\":4,\"log_time\":5000000000,\"sessions\":2,"
    "\"buffers\":{\"total\":100,\"free\":90},\"faults_active\":true,"
    "\"workers\":[{\"name\":\"net\",\"heartbeat\":5,\"heartbeat_age_ms\":0.1,\"busy\":0.25,\"longest_turn_us\":40.5,"
    "\"sleeps\":0,\"cpu\":3}],\"counters\":{\"frames_in\":11,\"drop_crc\":2,\"drop_type\":0}}}";
static const char status_dead[] = "{\"node\":1,\"cluster\":\"demo\",\"epoch\":4,\"role\":\"down\",\"sequencer\":0,"
                                  "\"problem\":\"no core\",\"members\":[],"
                                  "\"dataplane\":{\"alive\":false,\"reason\":\"killed by signal 9\"}}";

/* Entries 5..log_last, at most four in an answer. */
static void log_answer(const char *request, char *body, size_t room)
{
    unsigned long seq = 0;
    (void)sscanf(request, "GET /v1/log?seq=%lu", &seq);
    if (seq < 5)
        seq = 5;
    size_t used =
        (size_t)snprintf(body, room, "{\"oldest_seq\":5,\"commit_seq\":%lu,\"entries\":[", (unsigned long)log_last);
    for (int i = 0; i < 4 && seq <= log_last; i++, seq++)
        /* an incr of key "k" by -2, and a tick */
        used += (size_t)snprintf(body + used, room - used,
                                 "%s{\"seq\":%lu,\"time\":1500000000,\"kind\":\"%s\",\"session\":%d,\"number\":9,"
                                 "\"client\":\"10.7.0.9:99\",\"length\":%d,\"operation\":\"%s\"}",
                                 i ? "," : "", seq, seq % 5 ? "operation" : "tick", seq % 5 ? 3 : 0, seq % 5 ? 33 : 0,
                                 seq % 5 ? "BAABAAAAAAD+/////////wAAAAAAAAAAAAAAAAAAAABr" : "");
    snprintf(body + used, room - used, "],\"next_seq\":%lu}", seq);
}

/* What was ordered last, as "METHOD path body"; and what is answered, by turns (0: nothing). Under the lock. */
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static char ordered[1024];
static int order_code = 200;
static const char *order_answer[2] = {"{}", "{}"};
static int order_turn;

/* The whole of a request that may come in two pieces. */
static void order_read(int fd, char *request, size_t room, size_t have)
{
    const char *length = strcasestr(request, "Content-Length:");
    size_t want = length ? strtoul(length + strlen("Content-Length:"), NULL, 10) : 0;
    char *body = strstr(request, "\r\n\r\n");
    while (body && strlen(body + 4) < want && have + 1 < room) {
        ssize_t n = recv(fd, request + have, room - 1 - have, 0);
        if (n <= 0)
            break;
        have += (size_t)n;
        request[have] = 0;
    }
}

static int order_take(const char *request, char *answer, size_t room)
{
    const char *body = strstr(request, "\r\n\r\n");
    pthread_mutex_lock(&order_lock);
    if (strncmp(request, "GET", 3) != 0)
        snprintf(ordered, sizeof(ordered), "%.*s%s%s", (int)(strstr(request, " HTTP") - request), request,
                 body && body[4] ? " " : "", body ? body + 4 : "");
    snprintf(answer, room, "%s", order_answer[order_turn]);
    order_turn = 1;
    int code = order_code;
    pthread_mutex_unlock(&order_lock);
    return code;
}

static void order_expect(int code, const char *first, const char *second)
{
    pthread_mutex_lock(&order_lock);
    ordered[0] = 0;
    order_code = code;
    order_answer[0] = first;
    order_answer[1] = second ? second : first;
    order_turn = 0;
    pthread_mutex_unlock(&order_lock);
}

/* The commands' own ends order nothing between this process' threads: what was ordered is looked at under the lock. */
static void assert_last_ordered(const char *wanted)
{
    char last[sizeof(ordered)];
    pthread_mutex_lock(&order_lock);
    memcpy(last, ordered, sizeof(last));
    pthread_mutex_unlock(&order_lock);
    assert_string_equal(last, wanted);
}

static void *ctrl(void *user)
{
    int listener = *(int *)user;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        static char request[4096], body[8192], answer[9000];
        ssize_t length = recv(fd, request, sizeof(request) - 1, 0);
        request[length > 0 ? length : 0] = 0;
        int code = status_body ? 200 : 503;
        order_read(fd, request, sizeof(request), length > 0 ? (size_t)length : 0);
        if (strncmp(request, "GET /v1/status ", 15) == 0)
            snprintf(body, sizeof(body), "%s", atomic_load(&status_body));
        else if (strncmp(request, "GET /v1/log", 11) == 0)
            log_answer(request, body, sizeof(body));
        else
            code = order_take(request, body, sizeof(body));
        if (!status_body)
            snprintf(body, sizeof(body), "{\"error\":\"there is no dataplane to ask\"}");
        int size = snprintf(answer, sizeof(answer),
                            "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                            "Connection: close\r\n\r\n%s",
                            code, strlen(body), body);
        if (code != 0)
            (void)!send(fd, answer, (size_t)size, MSG_NOSIGNAL); /* whoever was interrupted has gone */
        close(fd);
    }
}

static int ctrl_listen(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/1.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

#define DONE "{\"id\":3,\"what\":\"it\",\"running\":false,\"errno\":0,\"text\":\"\"}"

static void assert_ordered(const char *arguments, const char *wanted)
{
    order_expect(200, DONE, NULL);
    assert_run(0, arguments);
    assert_last_ordered(wanted);
}

static void faults_in_words(void)
{
    static const struct {
        const char *words, *body;
    } good[] = {
        {"drop 5% delay 200us jitter 50us cut 2,3 --for 10s --seed 7",
         "{\"drop\":50000,\"delay\":200000,\"jitter\":50000,\"cut_in\":[2,3],\"cut_out\":[2,3],\"for_ns\":10000000000,"
         "\"seed\":7}"},
        {"reorder 0.5% cut-in clients rate 10M",
         "{\"reorder\":5000,\"reorder_span\":8,\"cut_in\":[0],\"bytes_per_second\":10000000}"},
        {"span 3 reorder 1% corrupt 0.0001% cut-out 63",
         "{\"reorder_span\":3,\"reorder\":10000,\"corrupt\":1,\"cut_out\":[63]}"},
        {"stop 2s", "{\"kind\":\"stop\",\"for_ns\":2000000000}"},
        {"stop 2s node", "{\"kind\":\"stop\",\"for_ns\":2000000000,\"target\":\"node\"}"},
        {"crash dataplane", "{\"kind\":\"crash\",\"target\":\"dataplane\"}"},
        {"slow net 50us --for 1s", "{\"kind\":\"slow\",\"worker\":\"net\",\"turn_ns\":50000,\"for_ns\":1000000000}"},
        {"stall apply 100ms", "{\"kind\":\"stall\",\"worker\":\"apply\",\"for_ns\":100000000}"},
        {"flip --seed 3", "{\"kind\":\"flip\",\"seed\":3}"},
        {"disk hang --for 2s", "{\"kind\":\"disk\",\"hang\":1,\"for_ns\":2000000000}"},
        {"disk error 1% short 2% torn 50% lost 100% rot 0.1% misplaced 3% full delay 5ms jitter 2ms --seed 4",
         "{\"kind\":\"disk\",\"error\":10000,\"short\":20000,\"torn\":500000,\"lost\":1000000,\"rot\":1000,"
         "\"misplaced\":30000,\"full\":1,\"delay\":5000000,\"jitter\":2000000,\"seed\":4}"},
    };
    static const char *const bad[] = {
        "drop",
        "drop 5",
        "drop 101%",
        "drop 0%",
        "drop x%",
        "delay 5",
        "delay 0s",
        "cut 0",
        "cut 2,",
        "cut 64",
        "cut two",
        "rate 5x",
        "rate 0",
        "span 0",
        "flood",
        "stop",
        "stop 2",
        "crash world",
        "slow 50us",
        "slow net",
        "stall net",
        "flip 3",
        "stop 2s node 3",
        "crash --for 2s",
        "flip --for 2s",
        "stop 2s --seed 3",
        "partition",
        "partition 1,2",
        "partition 1/1",
        "partition 1/x",
        "drop 5% --for 0s",
        "disk",
        "disk flood",
        "disk rot",
        "disk rot 1",
        "disk full 1%",
        "disk hang drop 1%",
    };
    char command[256], wanted[512];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(command, sizeof(command), "fault add %s --node 1", good[i].words);
        snprintf(wanted, sizeof(wanted), "POST /v1/faults %s", good[i].body);
        order_expect(200, "{\"done\":true,\"id\":4}", NULL);
        assert_run(0, command);
        assert_last_ordered(wanted);
        assert_has(out, "fault 4;");
    }
    order_expect(200, "{}", NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(command, sizeof(command), "fault add %s --node 1", bad[i]);
        assert_run(2, command);
    }
    assert_last_ordered("");
}

static void operators(void)
{
    char command[256];
    status_body = status_good;
    assert_run(0, "watch --count 2 --every 1ms");
    assert_has(out, "epoch 4 sequencer 1 seq 7 0/s members 1:sequencer 2:-12 alarms 1\n");
    assert_run(0, "watch --count 1 --json");
    assert_has(out, "{\"node\":1,");

    assert_ordered("member remove 3", "POST /v1/members {\"remove\":3}");
    assert_has(out, "it: done\n");
    assert_ordered("member promote 3 --json", "POST /v1/members {\"promote\":3}");
    assert_has(out, "\"running\":false");
    assert_ordered("member add 4 10.7.0.4:7455 10.8.0.4:7456 --learner",
                   "POST /v1/members {\"add\":{\"node\":4,\"address\":\"10.7.0.4:7455\",\"ctrl\":\"10.8.0.4:7456\"},"
                   "\"learner\":true}");
    assert_ordered("member replace 2 4 10.7.0.4:7455 10.8.0.4:7456",
                   "POST /v1/members {\"replace\":2,\"by\":{\"node\":4,\"address\":\"10.7.0.4:7455\",\"ctrl\":"
                   "\"10.8.0.4:7456\"}}");
    assert_ordered("sequencer move 2", "POST /v1/sequencer/move {\"to\":2}");
    assert_ordered("checkpoint create", "POST /v1/checkpoints {\"create\":true}");
    assert_ordered("checkpoint verify a.lsc", "POST /v1/checkpoints {\"verify\":\"a.lsc\"}");
    assert_ordered("checkpoint restore a.lsc", "POST /v1/checkpoints {\"restore\":\"a.lsc\"}");
    assert_run(2, "member add 4 10.7.0.4:7455");
    assert_run(2, "member add 9");
    assert_has(err, "has no node 9");
    assert_run(2, "member remove 64");

    /* what takes long is followed to its end, or not */
    static const char running[] = "{\"id\":3,\"what\":\"it\",\"running\":true,\"errno\":0,\"text\":\"\"}";
    order_expect(202, running, "{\"id\":3,\"what\":\"it\",\"running\":false,\"errno\":0,\"text\":\"well\"}");
    assert_run(0, "member promote 3");
    assert_has(out, "it: well\n");
    order_expect(202, running, "{\"id\":3,\"what\":\"it\",\"running\":false,\"errno\":16,\"text\":\"no\"}");
    assert_run(4, "member promote 3");
    assert_has(err, "no\n");
    order_expect(202, running, "{\"id\":3,\"running\":false,\"errno\":125,\"text\":\"who knows\"}");
    assert_run(5, "member promote 3");
    order_expect(202, running, NULL);
    assert_run(0, "member promote 3 --no-wait");
    assert_has(out, "under way");
    assert_run(0, "member promote 3 --no-wait --json");
    assert_has(out, "\"running\":true");
    order_expect(0, "", NULL); /* it ends before it answers */
    assert_run(5, "member promote 3");
    assert_has(err, "lockstep: ");
    order_expect(403, "{\"error\":\"may not\",\"errno\":1}", NULL);
    assert_run(4, "member promote 3");
    assert_has(err, "may not");

    order_expect(200, "{\"checkpoints\":[{\"name\":\"a.lsc\",\"state\":\"good\",\"seq\":5,\"size\":99}]}", NULL);
    assert_run(0, "checkpoint list");
    assert_has(out, "a.lsc       good   5    99");
    order_expect(200, "{\"allowed\":true,\"faults\":[{\"id\":2,\"text\":\"drop 5 %\",\"left_ms\":1500.0}]}", NULL);
    assert_run(0, "fault list");
    assert_has(out, "node 1: fault 2: drop 5 % (1.5 s left)\n");
    assert_ordered("fault clear", "DELETE /v1/faults");
    assert_ordered("fault clear 2", "DELETE /v1/faults/2");
    assert_run(2, "fault clear x");
    faults_in_words();
    order_expect(200, "{\"done\":true,\"id\":4}", NULL);
    assert_run(3, "fault add partition 1/2,3"); /* the others are not here */
    assert_last_ordered("POST /v1/faults {\"cut_in\":[2,3],\"cut_out\":[2,3]}");
    assert_has(err, "node 2 is NOT cut off");
    assert_has(err, "lockstep fault add cut 1 --node 2");

    assert_run(4, "cluster recover");
    assert_has(out, "begins a new generation");
    assert_run(2, "cluster recover --accept-loss");
    snprintf(command, sizeof(command), "cluster recover --accept-loss --node 1 </dev/null");
    assert_int_not_equal(run(command), 0);
}

static void status_and_log(void **state)
{
    assert_run(3, "status");
    assert_has(err, "no lockstep-ctrl answers here");
    assert_run(3, "log dump");
    int listener = ctrl_listen();
    pthread_t thread;
    status_body = status_good;
    assert_int_equal(pthread_create(&thread, NULL, ctrl, &listener), 0);

    assert_run(0, "status");
    assert_has(out, "Node 1 of demo: sequencer, epoch 4, sequencer is node 1\n");
    assert_has(out, "FAULTS ARE BEING INJECTED");
    assert_has(out, "1 sequencer  voter    10.7.0.1:7455  sequencer  yes     up    0.0           0    7\n");
    assert_has(out, "2            learner  10.7.0.2:7455  STALLED    NO      DOWN  -             12   -\n");
    assert_has(out, "25.0 %");
    assert_has(out, "drop_crc");
    assert_null(strstr(out, "frames_in"));
    assert_run(0, "status --counters");
    assert_has(out, "frames_in");
    assert_run(0, "status --json --socket 1.sock");
    assert_has(out, "{\"nodes\":[{\"node\":1,");
    status_body = status_dead;
    assert_run(1, "status");
    assert_has(out, "not running: killed by signal 9");

    assert_run(0, "log dump");
    assert_int_equal(strncmp(out, "         5      1.500000  tick", 30), 0);
    assert_has(out, "         6      1.500000  operation  3/9 10.7.0.9:99  incr k -2\n");
    assert_has(out, "\n        25 ");
    assert_run(0, "log dump --from 7 --to 8");
    assert_int_equal(strncmp(out, "         7 ", 11), 0);
    assert_null(strstr(out, "\n         9 "));
    assert_run(0, "log dump --from 2 --to 5 --json");
    assert_has(err, "entries 2 to 4 are no longer held");
    assert_has(out, "\"seq\":5");
    assert_run(1, "log dump --from 26");
    assert_run(1, "log dump --to 4");
    assert_run(2, "log dump --from 9 --to 8");
    assert_run(2, "log dump --from key");
    assert_run(0, "log tail --lines 3 & p=$!; sleep 0.5; kill $p; true");
    assert_int_equal(strncmp(out, "        23 ", 11), 0);
    assert_has(out, "\n        25 ");
    operators();
    status_body = NULL;
    assert_run(3, "log dump");
    assert_has(err, "there is no dataplane to ask");

    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* ---- set-up ---- */

/* A namespace whose lo has the cluster's address. */
static bool namespace_make(void)
{
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(IP)};
    memcpy(&request.ifr_addr, &address, sizeof(address));
    bool good = ioctl(fd, SIOCSIFADDR, &request) == 0;
    request.ifr_flags = IFF_UP | IFF_LOOPBACK;
    good = good && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return good;
}

static int setup(void **state)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "cluster: {name: demo, id: %016llx, generation: 1}\nport: %d\nnodes:\n"
             "  - {id: 1, ip: 10.7.0.1, prefix: 24, device: net_ring0, ctrl_socket: %s/1.sock, data_dir: %s/1}\n",
             (unsigned long long)NODE_CLUSTER, PORT, folder, folder);
    file_write("c.yaml", text);
    node = node_start_at((struct ls_addr){IP, PORT}, 0, 64, 1000000);
    return 0;
}

static int teardown(void **state)
{
    char command[64];
    node_stop(node);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_keys),
        cmocka_unit_test(values_from_files),
        cmocka_unit_test(loads_and_scans),
        cmocka_unit_test(silence_has_codes_of_its_own),
        cmocka_unit_test(command_lines_are_checked),
        cmocka_unit_test(status_and_log),
    };
    if (argc != 2)
        return 2;
    program = realpath(argv[1], NULL);
    if (!program || !mkdtemp(folder)) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    if (!namespace_make()) {
        fprintf(stderr, "no network namespace may be made here: skipped\n");
        rmdir(folder);
        return 77;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
