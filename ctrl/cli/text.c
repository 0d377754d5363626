/* SPDX-License-Identifier: BSD-3-Clause */
/* How the lockstep command says things. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "cli.h"

void cli_say(const struct cli *cli, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "lockstep: %s: ", cli->command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void cli_print_json(json_t *json)
{
    if (json_dumpf(json, stdout, JSON_COMPACT) == 0)
        putchar('\n');
    json_decref(json);
}

json_t *cli_bytes_json(struct ls_kv_bytes bytes)
{
    json_t *text = json_stringn(bytes.bytes, bytes.length); /* NULL: no UTF-8 */
    if (text)
        return text;
    char *base64 = malloc(4 * (bytes.length / 3 + 1) + 1);
    if (!base64)
        return json_null();
    EVP_EncodeBlock((unsigned char *)base64, bytes.bytes, (int)bytes.length);
    json_t *json = json_pack("{s:s}", "base64", base64);
    free(base64);
    return json;
}

void cli_print_escaped(FILE *out, struct ls_kv_bytes bytes)
{
    const unsigned char *at = bytes.bytes;
    for (size_t i = 0; i < bytes.length; i++) {
        switch (at[i]) {
        case '\t':
            fputs("\\t", out);
            break;
        case '\n':
            fputs("\\n", out);
            break;
        case '\r':
            fputs("\\r", out);
            break;
        case '\\':
            fputs("\\\\", out);
            break;
        default:
            if (at[i] < 0x20 || at[i] == 0x7f)
                fprintf(out, "\\x%02x", at[i]);
            else
                fputc(at[i], out);
        }
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool cli_unescape(char *text, size_t *length)
{
    size_t to = 0;
    for (size_t i = 0; i < *length; i++) {
        if (text[i] != '\\') {
            text[to++] = text[i];
            continue;
        }
        if (++i == *length)
            return false;
        const char *known = "tnr\\";
        const char *found = text[i] ? strchr(known, text[i]) : NULL;
        if (found) {
            text[to++] = "\t\n\r\\"[found - known];
            continue;
        }
        if (text[i] != 'x' || *length - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
            return false;
        text[to++] = (char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
        i += 2;
    }
    *length = to;
    return true;
}
