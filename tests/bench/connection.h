/* One client connection of the load generator: the NATS client protocol, as far as a benchmark speaks it. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "load.h"
#include "secure.h"

enum { RECEIVE_BYTES = 256 * 1024, BATCH_BYTES = 256 * 1024 };

struct connection {
    int fd;
    struct secure *secure; /* NULL: plain */
    char *buffer;
    size_t start, end; /* what was received and not yet taken */
};

struct text {
    const char *bytes; /* into the connection's buffer: valid until the next read */
    size_t length;
};

struct message {
    struct text subject, reply, headers, payload;
    long sid;
};

enum operation { OPERATION_MSG, OPERATION_PONG };

/* The bytes of one frame, again and again: what a receiver of equal messages must see, to be compared in bulk. */
struct pattern {
    char *bytes;
    size_t frame_bytes, bytes_total;
};

/* Whether a payload is `size` times `fill`, as all payloads here are. */
bool is_filled(struct text payload, long size, char fill);

bool text_equals(struct text text, const char *word);

/* Connects, logs in and waits for the server to agree. */
void open_connection(struct connection *connection, struct address address, const struct options *options);
void close_connection(struct connection *connection);

void send_bytes(struct connection *connection, const char *bytes, size_t length);
void send_text(struct connection *connection, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next MSG or PONG. Answers PING, skips INFO and +OK, fails on -ERR and on anything else. */
enum operation next_operation(struct connection *connection, struct message *message);

/* As next_operation, for a place where only a message may come. */
void next_message(struct connection *connection, struct message *message);

/* Like next_operation, but only from what is buffered: false where the next operation is not complete yet. */
bool buffered_operation(struct connection *connection, enum operation *operation, struct message *message);

/* Reads once, waiting as long as it takes (the watchdog has the last word). Fails on end of file. */
void receive_more(struct connection *connection);

/* Reads what is there without waiting and answers PING: for connections that only publish. */
void answer_pending(struct connection *connection);

/* PING, then everything up to the PONG: the server has seen all that was sent. No message may come in between. */
void confirm(struct connection *connection);

struct pattern repeat_frame(const char *frame, size_t frame_bytes, size_t bytes_min);

/* Counts frames that match the pattern, at least one; 0 where something else is next (ask next_operation). */
long receive_frames(struct connection *connection, const struct pattern *pattern);

#endif
