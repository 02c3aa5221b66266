/* What the JetStream modes share: requests to the API, what an answer says, and the subjects of keyed messages. */
#ifndef STREAM_H
#define STREAM_H

#include "connection.h"

/* Keyed messages go to "<subject>.<group>.<item>": a filter on one group matches 1 subject in KEY_GROUPS. */
enum { KEY_GROUPS = 1000, GROUP_DIGITS = 3, ITEM_DIGITS = 6, KEY_BYTES = 1 + GROUP_DIGITS + 1 + ITEM_DIGITS };

/* Writes ".<group>.<item>" of a key, KEY_BYTES long. */
void write_key(char *at, long key);

/* Sends a request and waits for the one answer. Fails where it is an error: the server's words are shown. The answer
 * is valid until the next read. SID_REQUEST must be free on this connection. */
struct text api_request(struct connection *connection, const char *subject, const char *body);

/* The number behind "name": in a JSON text (the first one of that name); fails where there is none. */
long json_number(struct text json, const char *name);

/* The number behind a status line "NATS/1.0 NNN ...", 0 where the message has none. */
long status_of(const struct message *message);

/* The value of a header, empty where there is none. */
struct text header_of(const struct message *message, const char *name);

bool text_contains(struct text text, const char *word);

#endif
