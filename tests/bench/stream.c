/* Requests to the JetStream API, and `request`: one of them from the command line, to make streams before a run. */
#define _GNU_SOURCE
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SID_REQUEST = 9 };

void write_key(char *at, long key) {
    at[0] = '.';
    write_digits(at + 1, GROUP_DIGITS, key % KEY_GROUPS);
    at[1 + GROUP_DIGITS] = '.';
    write_digits(at + 1 + GROUP_DIGITS + 1, ITEM_DIGITS, key / KEY_GROUPS);
}

static const char *find(struct text text, const char *word) {
    return memmem(text.bytes, text.length, word, strlen(word));
}

bool text_contains(struct text text, const char *word) {
    return find(text, word) != NULL;
}

long json_number(struct text json, const char *name) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = find(json, quoted), *end = json.bytes + json.length;
    if (at == NULL) fail(EXIT_BROKEN, "no %s in %.*s", name, (int)json.length, json.bytes);
    long value = 0;
    for (at += strlen(quoted); at < end && *at == ' '; at++) {}
    for (; at < end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
    return value;
}

long status_of(const struct message *message) {
    static const char version[] = "NATS/1.0 ";
    enum { VERSION_BYTES = sizeof version - 1, CODE_DIGITS = 3 };
    struct text headers = message->headers;
    if (headers.length < VERSION_BYTES + CODE_DIGITS || memcmp(headers.bytes, version, VERSION_BYTES) != 0) return 0;
    long status = 0;
    for (int i = 0; i < CODE_DIGITS; i++) status = status * 10 + (headers.bytes[VERSION_BYTES + i] - '0');
    return status;
}

struct text header_of(const struct message *message, const char *name) {
    char line[64];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *at = find(message->headers, line);
    if (at == NULL) return (struct text){"", 0};
    at += strlen(line);
    const char *end = memchr(at, '\r', (size_t)(message->headers.bytes + message->headers.length - at));
    return (struct text){at, end ? (size_t)(end - at) : 0};
}

struct text api_request(struct connection *connection, const char *subject, const char *body) {
    static long requests;
    struct message answer;
    char inbox[64];
    snprintf(inbox, sizeof inbox, "_INBOX.request.%ld", requests++);
    send_text(connection, "SUB %s %d\r\nPUB %s %s %zu\r\n", inbox, SID_REQUEST, subject, inbox, strlen(body));
    send_bytes(connection, body, strlen(body));
    send_bytes(connection, "\r\n", 2);
    do {
        next_message(connection, &answer); /* what a consumer still sends is not looked at any more */
    } while (answer.sid != SID_REQUEST);
    if (status_of(&answer) == 503) fail(EXIT_BROKEN, "nobody answers %s: no JetStream", subject);
    if (text_contains(answer.payload, "\"error\""))
        fail(EXIT_BROKEN, "%s: %.*s", subject, (int)answer.payload.length, answer.payload.bytes);
    struct text payload = answer.payload;
    send_text(connection, "UNSUB %d\r\n", SID_REQUEST);
    return payload;
}

void run_request(const struct options *options) {
    struct connection connection;
    start_watchdog(options->stall_s);
    open_connection(&connection, options->server, options);
    struct text answer = api_request(&connection, options->subject, options->body);
    printf("%.*s\n", (int)answer.length, answer.bytes);
    close_connection(&connection);
}
