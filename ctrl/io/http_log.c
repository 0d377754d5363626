/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GET /v1/log: what the ring holds the dataplane answers; older entries are read from the journal's files, on a job's
 * thread. Both give pages of one form, so that whoever asks on from next_seq passes from one to the other.
 */
#include "http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/keyvalq_struct.h>

#include "../../dataplane/journal/history.h"
#include "job.h"
#include "status.h"

#define LOG_BYTES_MAX 49152

/* A page out of the journal. */
struct page_job {
    struct ls_http_waiter *waiter;
    struct ls_history *history; /* kept from one page to the next, or made by the job */
    struct ls_journal_identity identity;
    char data_dir[512];
    uint64_t seq, limit;
    uint32_t bytes; /* wanted */
    uint8_t *body;  /* the ring's answer; then what is answered */
};

/* ---- the journal ---- */

static bool has_room(const struct ls_control_log_bytes *head, uint64_t size, uint64_t wanted)
{
    return head->bytes + size <= (head->bytes == 0 ? LS_CONTROL_MESSAGE_MAX - sizeof(*head) : wanted);
}

/* As ls_log_read() does it from the ring. */
static int page_fill(struct page_job *job, struct ls_control_log_bytes *head)
{
    const struct ls_entry *entry;
    int result;

    head->next_seq = ls_history_place(job->history)->seq + 1;
    while (head->bytes < job->bytes && (result = ls_history_next(job->history, job->limit, &entry)) != 0) {
        uint64_t size;

        if (result < 0)
            return head->bytes > 0 ? 0 : result; /* the next page begins there, and says it */
        size = ls_entry_size(entry->length);
        if (!has_room(head, size, job->bytes)) {
            if (head->bytes > 0) {
                ls_history_unread(job->history); /* for the next page */
                break;
            }
            size = sizeof(*entry);
            head->skipped = 1;
        }
        memcpy(job->body + sizeof(*head) + head->bytes, entry, size);
        head->bytes += (uint32_t)size;
        head->next_seq = entry->seq + 1;
        if (head->skipped)
            break;
    }
    return 0;
}

/* On the job's thread. What the journal does not hold (any more) is left to the ring's answer. */
static int page_read(void *arguments, char *error)
{
    struct page_job *job = arguments;
    struct ls_control_log_bytes ring, head = {0};
    uint64_t oldest;
    char why[LS_HISTORY_ERROR_MAX];
    int code;

    if (job->history == NULL)
        job->history = ls_history_open(job->data_dir, &job->identity, why);
    if (job->history == NULL) {
        snprintf(error, LS_JOB_ERROR_MAX, "%.*s", LS_JOB_ERROR_MAX - 1, why);
        return -EIO;
    }
    code = ls_history_seek(job->history, job->seq, job->limit, &oldest);
    if (code == -ENOENT)
        return 0;
    memcpy(&ring, job->body, sizeof(ring));
    head.commit_seq = ring.commit_seq;
    head.oldest_seq = oldest;
    if (code == 0)
        code = page_fill(job, &head);
    if (code == 0)
        memcpy(job->body, &head, sizeof(head));
    else
        snprintf(error, LS_JOB_ERROR_MAX, "%.*s", LS_JOB_ERROR_MAX - 1, ls_history_error(job->history));
    return code;
}

static uint64_t durable_now(const struct ls_http *http)
{
    static struct ls_operate_view view;

    ls_operate_view(http->node, &view);
    return view.page != NULL ? atomic_load_explicit(&view.page->journal.durable, memory_order_relaxed) : 0;
}

static void on_page(void *user, void *arguments, int result, const char *error)
{
    struct page_job *job = arguments;
    struct ls_http *http = job->waiter->http;
    struct evhttp_request *request = ls_http_waited(job->waiter);

    (void)user;
    if (http != NULL && result == 0 && durable_now(http) < job->limit) {
        error = "the log is being replaced: try again"; /* what was read may be of the one before */
        result = -EAGAIN;
    }
    if (http != NULL && http->history == NULL && result == 0)
        http->history = job->history;
    else
        ls_history_close(job->history);
    if (request != NULL && result == 0)
        ls_http_reply(request, HTTP_OK, "OK", ls_log_json(job->body));
    else if (request != NULL)
        ls_http_refuse(request, -result, error);
    free(job->body);
}

/* Does the ring begin behind what is asked for, and is there a journal that may have it? Then it is asked. */
static bool journal_ask(struct ls_http_waiter *waiter, const uint8_t *body)
{
    static struct ls_operate_view view;
    struct ls_http *http = waiter->http;
    const struct ls_config *config = ls_operate_config(http->node);
    struct ls_control_log_bytes head;
    struct page_job job = {.waiter = waiter, .seq = waiter->seq, .bytes = waiter->bytes};
    uint64_t commit, durable;

    memcpy(&head, body, sizeof(head));
    ls_operate_view(http->node, &view);
    if (config->durability == LS_DURABLE_MEMORY || view.page == NULL || head.oldest_seq <= 1 ||
        (waiter->seq != 0 && waiter->seq >= head.oldest_seq))
        return false;
    commit = atomic_load_explicit(&view.page->replica.commit, memory_order_relaxed);
    durable = atomic_load_explicit(&view.page->journal.durable, memory_order_relaxed);
    job.limit = commit < durable ? commit : durable;
    job.identity = (struct ls_journal_identity){.cluster = config->cluster,
                                                .generation = view.ctrl.durable.generation,
                                                .group = config->group,
                                                .node = ls_operate_self(http->node)->id,
                                                .segment_size = config->journal_segment};
    snprintf(job.data_dir, sizeof(job.data_dir), "%s", ls_operate_self(http->node)->data_dir);
    job.body = malloc(LS_CONTROL_MESSAGE_MAX);
    if (job.body == NULL)
        return false;
    memcpy(job.body, body, sizeof(head) + head.bytes);
    job.history = http->history;
    http->history = NULL;
    if (ls_job_start(ls_operate_base(http->node), page_read, on_page, NULL, &job, sizeof(job)) != NULL)
        return true;
    http->history = job.history;
    free(job.body);
    return false;
}

/* ---- the ring ---- */

static void on_ring_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct ls_http_waiter *waiter = user;
    bool good = header != NULL && header->type == LS_CONTROL_LOG_BYTES;
    struct evhttp_request *request;

    if (good && waiter->http != NULL && journal_ask(waiter, body))
        return;
    request = ls_http_waited(waiter);
    if (request == NULL)
        return;
    if (good)
        ls_http_reply(request, HTTP_OK, "OK", ls_log_json(body));
    else
        ls_http_error(request, 504, why != NULL ? why : "the dataplane gave another answer");
}

static void ring_ask(struct ls_http *http, struct evhttp_request *request, const struct ls_control_log *ask)
{
    static struct ls_operate_view view;
    struct ls_http_waiter *waiter = ls_http_wait(http, request);

    if (waiter == NULL)
        return;
    waiter->seq = ask->seq;
    waiter->bytes = ask->bytes;
    if (ls_operate_ask(http->node, LS_CONTROL_LOG, ask, sizeof(*ask), on_ring_answer, waiter))
        return;
    (void)ls_http_waited(waiter);
    ls_operate_view(http->node, &view);
    ls_http_error(request, HTTP_SERVUNAVAIL,
                  view.linked ? "too many questions wait for the dataplane: try again"
                              : "there is no dataplane to ask: see GET /v1/status");
}

/* A number of the query, `missing` where it is not there. False: not a number. */
static bool query_number(struct evkeyvalq *query, const char *key, uint64_t missing, uint64_t *number)
{
    const char *text = evhttp_find_header(query, key);
    char *end;

    *number = missing;
    if (text == NULL)
        return true;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

void ls_http_on_log(struct evhttp_request *request, void *argument)
{
    const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    struct ls_control_log ask = {0};
    struct evkeyvalq query;
    uint64_t seq, bytes;
    bool good;

    if (!ls_http_method(request, EVHTTP_REQ_GET, "GET"))
        return;
    if (evhttp_parse_query_str(text != NULL ? text : "", &query) != 0) {
        ls_http_error(request, HTTP_BADREQUEST, "the query is malformed");
        return;
    }
    good = query_number(&query, "seq", 0, &seq);
    good = query_number(&query, "bytes", LOG_BYTES_MAX, &bytes) && good;
    evhttp_clear_headers(&query);
    if (!good) {
        ls_http_error(request, HTTP_BADREQUEST, "seq and bytes are whole numbers, as in ?seq=1&bytes=4096");
        return;
    }
    ask.seq = seq;
    ask.bytes = (uint32_t)(bytes < LOG_BYTES_MAX ? bytes : LOG_BYTES_MAX);
    ring_ask(argument, request, &ask);
}
