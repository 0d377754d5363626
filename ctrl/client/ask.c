/* SPDX-License-Identifier: BSD-3-Clause */
/* See ask.h. */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#define BODY_MAX (16u * 1024 * 1024)

struct body {
    char *bytes;
    size_t length;
};

static size_t body_take(char *bytes, size_t size, size_t n, void *user)
{
    struct body *body = user;
    size_t more = size * n;
    if (more > BODY_MAX - body->length)
        return 0; /* curl then fails with "write error" */
    char *grown = realloc(body->bytes, body->length + more + 1);
    if (!grown)
        return 0;
    body->bytes = grown;
    memcpy(grown + body->length, bytes, more);
    body->length += more;
    grown[body->length] = 0;
    return more;
}

static CURLcode perform(const char *socket, const char *method, const char *path, const char *sent, uint64_t timeout_ns,
                        struct body *body, long *code)
{
    static CURL *curl; /* kept: log tail and watch ask again and again */
    char url[512];
    if (!curl && (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(curl = curl_easy_init())))
        return CURLE_FAILED_INIT;
    snprintf(url, sizeof(url), "http://localhost%s", path);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (sent)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, sent);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(timeout_ns / 1000000 + 1));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    CURLcode rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
    return rc;
}

json_t *ls_ask(const char *socket, const char *method, const char *path, json_t *sent, uint64_t timeout_ns, long *code,
               int *number, char *text, size_t room)
{
    struct body body = {NULL, 0};
    json_error_t error;
    char *words = sent ? json_dumps(sent, JSON_COMPACT) : NULL;
    *code = 0;
    *number = 0;
    json_decref(sent);
    CURLcode rc = perform(socket, method, path, words, timeout_ns, &body, code);
    free(words);
    if (rc != CURLE_OK) {
        snprintf(text, room, "%s", curl_easy_strerror(rc));
        /* sent, and no answer: it may have been done, and nobody else may be asked to do it */
        if (rc != CURLE_FAILED_INIT && rc != CURLE_COULDNT_CONNECT && strcmp(method, "GET") != 0)
            *number = ETIMEDOUT;
        free(body.bytes);
        return NULL;
    }
    json_t *json = body.bytes ? json_loadb(body.bytes, body.length, 0, &error) : NULL;
    free(body.bytes);
    if (*code >= 200 && *code < 300 && json_is_object(json))
        return json;
    const char *why = json_string_value(json_object_get(json, "error"));
    *number = (int)json_integer_value(json_object_get(json, "errno"));
    snprintf(text, room, "%s", why ? why : "the answer is not the expected JSON: is it lockstep-ctrl's socket?");
    json_decref(json);
    return NULL;
}

json_t *ls_ask_get(const char *socket, const char *path, uint64_t timeout_ns, long *code, char *text, size_t room)
{
    int number;
    return ls_ask(socket, "GET", path, NULL, timeout_ns, code, &number, text, room);
}
