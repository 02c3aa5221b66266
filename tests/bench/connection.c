/* The client side of the NATS protocol for the load generator: log in, send, and take operations off the buffer.
 *
 * A receiver has two ways to look at its buffer. `receive_frames` compares it in bulk with the bytes that must come,
 * every byte of them, at the speed of memcmp. `next_operation` parses one operation, whatever it is. The first is tried
 * where all messages are equal; the second takes over at the odd PING or -ERR, so that nothing is counted unseen. */
#define _GNU_SOURCE
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool starts_with(const char *bytes, size_t length, const char *word) {
    size_t word_length = strlen(word);
    return length >= word_length && memcmp(bytes, word, word_length) == 0;
}

bool is_filled(struct text payload, long size, char fill) {
    const char *bytes = payload.bytes;
    return payload.length == (size_t)size && bytes[0] == fill && memcmp(bytes, bytes + 1, payload.length - 1) == 0;
}

bool text_equals(struct text text, const char *word) {
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

void send_bytes(struct connection *connection, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = connection->secure ? send_secure(connection->secure, connection->fd, bytes, length)
                                          : send(connection->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            /* The reason is often on its way to us already: an -ERR says more than a broken pipe. */
            answer_pending(connection);
            fail(EXIT_BROKEN, "send: %s", strerror(errno));
        }
        bytes += sent;
        length -= (size_t)sent;
        atomic_fetch_add_explicit(&tally.progress, 1, memory_order_relaxed);
    }
}

void send_text(struct connection *connection, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) fail(EXIT_USAGE, "subject, user or password too long");
    send_bytes(connection, text, (size_t)length);
}

/* Moves what is left to the front, so that there is room to read. */
static void make_room(struct connection *connection) {
    size_t left = connection->end - connection->start;
    if (connection->start > 0 && left > 0)
        memmove(connection->buffer, connection->buffer + connection->start, left);
    connection->start = 0;
    connection->end = left;
    if (left == RECEIVE_BYTES) fail(EXIT_BROKEN, "an operation does not fit into %d bytes", RECEIVE_BYTES);
}

/* False where MSG_DONTWAIT was asked for and nothing is there. */
static bool receive_some(struct connection *connection, int flags) {
    make_room(connection);
    for (;;) {
        char *at = connection->buffer + connection->end;
        size_t room = RECEIVE_BYTES - connection->end;
        ssize_t got = connection->secure ? receive_secure(connection->secure, connection->fd, at, room, flags)
                                         : recv(connection->fd, at, room, flags);
        if (got > 0) {
            connection->end += (size_t)got;
            atomic_fetch_add_explicit(&tally.progress, 1, memory_order_relaxed);
            return true;
        }
        if (got == 0) fail(EXIT_BROKEN, "the server closed a connection");
        if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
        if (errno != EINTR) fail(EXIT_BROKEN, "receive: %s", strerror(errno));
    }
}

void receive_more(struct connection *connection) {
    receive_some(connection, 0);
}

static struct text next_word(const char **at, const char *end) {
    const char *p = *at;
    while (p < end && *p == ' ') p++;
    struct text word = {p, 0};
    while (p < end && *p != ' ') p++;
    word.length = (size_t)(p - word.bytes);
    *at = p;
    return word;
}

static long decimal(struct text digits) {
    long value = 0;
    for (size_t i = 0; i < digits.length; i++) {
        unsigned digit = (unsigned)(digits.bytes[i] - '0');
        if (digit > 9 || digits.length > 9)
            fail(EXIT_BROKEN, "not a number: %.*s", (int)digits.length, digits.bytes);
        value = value * 10 + (long)digit;
    }
    return value;
}

/* `line` is what follows "MSG " or "HMSG "; false where the payload is not there yet. */
static bool take_message(struct connection *connection, const char *line, const char *line_end, bool has_headers,
                         struct message *message) {
    const char *at = line;
    message->subject = next_word(&at, line_end);
    message->sid = decimal(next_word(&at, line_end));
    struct text words[3] = {next_word(&at, line_end), next_word(&at, line_end), next_word(&at, line_end)};
    int sizes = has_headers ? 2 : 1; /* the headers' size and that of all, or that of the payload */
    int reply_words = words[sizes].length > 0 ? 1 : 0;
    message->reply = reply_words ? words[0] : (struct text){words[0].bytes, 0};
    size_t header_bytes = has_headers ? (size_t)decimal(words[reply_words]) : 0;
    size_t size = (size_t)decimal(words[reply_words + sizes - 1]);
    const char *body = line_end + 2, *received_end = connection->buffer + connection->end;
    if (header_bytes > size) fail(EXIT_BROKEN, "headers longer than their message");
    if ((size_t)(received_end - body) < size + 2) return false;
    if (body[size] != '\r' || body[size + 1] != '\n') fail(EXIT_BROKEN, "a payload without its CRLF");
    message->headers = (struct text){body, header_bytes};
    message->payload = (struct text){body + header_bytes, size - header_bytes};
    connection->start = (size_t)(body + size + 2 - connection->buffer);
    return true;
}

bool buffered_operation(struct connection *connection, enum operation *operation, struct message *message) {
    while (connection->start < connection->end) {
        const char *line = connection->buffer + connection->start;
        const char *newline = memchr(line, '\n', connection->end - connection->start);
        if (newline == NULL) return false;
        if (newline == line || newline[-1] != '\r') fail(EXIT_BROKEN, "a line without its CRLF");
        size_t length = (size_t)(newline - 1 - line);
        if (starts_with(line, length, "MSG ")) {
            *operation = OPERATION_MSG;
            return take_message(connection, line + 4, newline - 1, false, message);
        }
        if (starts_with(line, length, "HMSG ")) {
            *operation = OPERATION_MSG;
            return take_message(connection, line + 5, newline - 1, true, message);
        }
        connection->start += length + 2;
        if (starts_with(line, length, "PONG")) {
            *operation = OPERATION_PONG;
            return true;
        }
        if (starts_with(line, length, "PING"))
            send_bytes(connection, "PONG\r\n", 6);
        else if (!starts_with(line, length, "INFO") && !starts_with(line, length, "+OK"))
            fail(EXIT_BROKEN, "the server said: %.*s", (int)length, line);
    }
    return false;
}

enum operation next_operation(struct connection *connection, struct message *message) {
    enum operation operation;
    while (!buffered_operation(connection, &operation, message)) receive_more(connection);
    return operation;
}

void next_message(struct connection *connection, struct message *message) {
    if (next_operation(connection, message) != OPERATION_MSG) fail(EXIT_BROKEN, "a PONG that nobody asked for");
}

void answer_pending(struct connection *connection) {
    int errno_before = errno;
    struct message message;
    enum operation operation;
    while (receive_some(connection, MSG_DONTWAIT))
        if (buffered_operation(connection, &operation, &message))
            fail(EXIT_BROKEN, "a publisher received a message or a PONG");
    errno = errno_before;
}

void confirm(struct connection *connection) {
    struct message message;
    send_bytes(connection, "PING\r\n", 6);
    if (next_operation(connection, &message) != OPERATION_PONG)
        fail(EXIT_BROKEN, "a message on %.*s before its time", (int)message.subject.length, message.subject.bytes);
}

void open_connection(struct connection *connection, struct address address, const struct options *options) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)address.port)};
    if (inet_pton(AF_INET, address.host, &name.sin_addr) != 1)
        fail(EXIT_USAGE, "not an IPv4 address: %s", address.host);
    *connection = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (connection->fd < 0) fail(EXIT_BROKEN, "socket: %s", strerror(errno));
    if (connect(connection->fd, (struct sockaddr *)&name, sizeof name) != 0)
        fail(EXIT_BROKEN, "connect to %s:%d: %s", address.host, address.port, strerror(errno));
    int on = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->buffer = allocate(RECEIVE_BYTES);
    if (options->tls) connection->secure = begin_secure(connection->fd);
    send_text(connection,
              "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1,"
              "\"lang\":\"c\",\"version\":\"1\",\"name\":\"load\",\"user\":\"%s\",\"pass\":\"%s\"}\r\n",
              options->user, options->password);
    confirm(connection);
}

void close_connection(struct connection *connection) {
    if (connection->secure) end_secure(connection->secure);
    close(connection->fd);
    free(connection->buffer);
}

struct pattern repeat_frame(const char *frame, size_t frame_bytes, size_t bytes_min) {
    size_t count = (bytes_min + frame_bytes - 1) / frame_bytes;
    struct pattern pattern = {allocate(count * frame_bytes), frame_bytes, count * frame_bytes};
    for (size_t i = 0; i < count; i++) memcpy(pattern.bytes + i * frame_bytes, frame, frame_bytes);
    return pattern;
}

/* Whole frames at the front of the buffer that are as they must be. */
static long take_frames(struct connection *connection, const struct pattern *pattern) {
    long count = 0;
    size_t stretch = pattern->bytes_total;
    for (;;) {
        size_t left = connection->end - connection->start;
        if (left < pattern->frame_bytes) return count;
        if (stretch > left) stretch = left - left % pattern->frame_bytes;
        if (memcmp(connection->buffer + connection->start, pattern->bytes, stretch) == 0) {
            connection->start += stretch;
            count += (long)(stretch / pattern->frame_bytes);
        } else if (stretch == pattern->frame_bytes) {
            return count;
        } else {
            stretch = pattern->frame_bytes; /* something odd is in this stretch: find it frame by frame */
        }
    }
}

long receive_frames(struct connection *connection, const struct pattern *pattern) {
    for (;;) {
        long count = take_frames(connection, pattern);
        if (count > 0) return count;
        size_t left = connection->end - connection->start;
        bool is_beginning = left < pattern->frame_bytes &&
                            memcmp(connection->buffer + connection->start, pattern->bytes, left) == 0;
        if (!is_beginning) return 0;
        receive_more(connection);
    }
}
