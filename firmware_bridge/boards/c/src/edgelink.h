/* EdgeLink/1, the board's side: what a board measures reaches the edge's stream once and in order. The protocol is
 * docs/edgelink.md of phloem; this file and edgelink.c are all that a board needs.
 *
 * C99, no malloc, no recursion, no floating point of its own, nothing but <stdint.h>, <stdbool.h>, <stddef.h>, <string.h>
 * and <float.h>. Fill in an el_config, call el_start once, then el_receive with what came over the line and el_poll in the
 * main loop. All of it belongs into one thread: an interrupt puts bytes aside and the loop hands them over.
 *
 *     el_begin(&el);
 *     el_put_int(&el, 0, 215);          channel 0, 21.5 with exponent -1
 *     if (!el_commit(&el)) ...          the ring is full: nothing was kept
 */
#ifndef EDGELINK_H
#define EDGELINK_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef EL_IMAGES /* firmware images over the line, with SHA-256 */
#ifdef __AVR__
#define EL_IMAGES 0
#else
#define EL_IMAGES 1
#endif
#endif

#ifndef EL_OFFSET /* counts bytes of the ring; uint16_t is enough below 64 KiB */
#ifdef __AVR__
#define EL_OFFSET uint16_t
#else
#define EL_OFFSET uint32_t
#endif
#endif

#define EL_FRAME_MIN 64u   /* bytes of a body that either side has to take; also the least for both frame buffers */
#define EL_FRAME_LEAST 32u /* what a host may say */
#define EL_FRAME_MAX 1024u
#ifndef EL_WINDOW_MAX /* frames under way at once: 8, or up to 64 for fast lines, with hosts that take as many */
#define EL_WINDOW_MAX 8
#endif
#if EL_WINDOW_MAX < 1 || EL_WINDOW_MAX > 64
#error "EL_WINDOW_MAX is 1 to 64"
#elif EL_WINDOW_MAX <= 8
typedef uint8_t el_frames;
#elif EL_WINDOW_MAX <= 16
typedef uint16_t el_frames;
#elif EL_WINDOW_MAX <= 32
typedef uint32_t el_frames;
#else
typedef uint64_t el_frames;
#endif
#define EL_KEPT_HEAD 32u   /* bytes at the beginning of a ring that survives resets */

typedef enum {
    EL_BOOL, EL_U8, EL_I8, EL_U16, EL_I16, EL_U32, EL_I32, EL_F32, EL_U64, EL_I64, EL_F64, EL_BYTES, EL_TEXT
} el_kind;

/* One line of the schema: a reading is the value times ten to the power of exponent, in that unit. */
typedef struct {
    uint8_t channel;
    uint8_t kind; /* el_kind */
    int8_t exponent;
    const char *name;
    const char *unit; /* name and unit together at most 48 bytes of UTF-8 */
} el_channel;

enum { EL_DONE, EL_NO_SUCH_COMMAND, EL_FAILED, EL_STILL_AT_IT, EL_ARGUMENT_REFUSED }; /* status of a command */
enum { EL_BOOT_UNKNOWN, EL_BOOT_POWER, EL_BOOT_PIN, EL_BOOT_WATCHDOG, EL_BOOT_BROWN_OUT, EL_BOOT_SOFTWARE, EL_BOOT_CRASH };
enum { EL_CAP_COMMANDS = 1, EL_CAP_IMAGES = 2, EL_CAP_KEPT = 4, EL_CAP_WALL_TIME = 8 };

typedef struct {
    const char *name; /* not terminated: see el_is */
    uint8_t name_size;
    const uint8_t *argument;
    uint16_t argument_size;
    uint16_t within_ms; /* what the host waits, 0 for ever */
    uint8_t *result;
    uint16_t result_size; /* the room there is; the handler leaves what it used */
} el_command;

#if EL_IMAGES
enum { EL_IMAGE_NONE, EL_IMAGE_RECEIVING, EL_IMAGE_COMPLETE, EL_IMAGE_WRONG_HASH, EL_IMAGE_NO_ROOM, EL_IMAGE_REFUSED };

/* Where images go, and what is known of the one under way. Set the callbacks, leave the rest zero. */
typedef struct {
    /* EL_IMAGE_RECEIVING with the offset where it goes on (0, or more after a reset), EL_IMAGE_NO_ROOM, or _REFUSED.
     * version is not terminated. */
    uint8_t (*begin)(void *user, uint32_t image, uint32_t size, const char *version, uint8_t version_size, uint32_t *offset);
    bool (*write)(void *user, uint32_t offset, const uint8_t *bytes, uint16_t count); /* false: refused */
    void (*read)(void *user, uint32_t offset, uint8_t *into, uint16_t count);         /* what was written, for the hash */
    void (*restart)(void *user, uint32_t image); /* into the new image; the old one stays until the new one has run */

    uint32_t image, size, offset;
    uint8_t state, sha[32], finishing;
    struct {
        uint32_t h[8], hashed;
        uint8_t block[64];
    } hash;
} el_images;
#endif

/* Set by the program, not changed afterwards, and in reach as long as the board runs. What is 0 or NULL is not there. */
typedef struct {
    void *user; /* handed to every callback */
    uint32_t (*now_ms)(void *user); /* monotonic, modulo 2^32 */
    uint16_t (*write)(void *user, const uint8_t *bytes, uint16_t count); /* to the line; how many it took, or it waits */

    uint8_t *ring; /* RAM; NULL: ring_read and ring_write are the memory, at 0 to ring_size - 1 */
    void (*ring_read)(void *user, EL_OFFSET at, uint8_t *into, uint16_t count);
    void (*ring_write)(void *user, EL_OFFSET at, const uint8_t *from, uint16_t count); /* returns when it is there */
    EL_OFFSET ring_size;
    bool ring_kept; /* the memory survives resets (FRAM, or RAM that is not cleared): what it holds is looked for */

    uint8_t *frame_in, *frame_out; /* EL_FRAME_MIN to EL_FRAME_MAX bytes each */
    uint16_t frame_in_size, frame_out_size;

    const uint8_t *uid; /* the chip's own number, 1 to 16 bytes */
    uint8_t uid_size;
    uint8_t reason;   /* EL_BOOT_... */
    uint16_t boot;    /* counts starts; 0: drawn from random */
    uint32_t random;  /* another one at each start: noise of an open input, the chip's generator */
    const char *firmware; /* with the uid at most 33 bytes, with a window above 8 at most 32 */
    uint16_t caps;    /* EL_CAP_WALL_TIME or what later versions add; the others follow from what is set here */

    const el_channel *channels;
    uint8_t channel_count;
    uint8_t window;    /* frames under way at once, 1 to EL_WINDOW_MAX; 0 is 4. Above 8: with hosts that take them */
    uint16_t retry_ms; /* first repetition; 0 is 200, more for slow lines: a full window's time on the line, twice */

    uint8_t (*command)(void *user, el_command *command); /* returns its status; EL_STILL_AT_IT: el_finish comes later */
    uint8_t *result; /* the last result is kept here, to be said again */
    uint16_t result_size;
#if EL_IMAGES
    el_images *images;
#endif
} el_config;

typedef struct {
    uint16_t frames;   /* good ones that came in */
    uint16_t noise;    /* pieces that were no frame, text among them */
    uint16_t foreign;  /* good frames of another version, type or tag, too short, or out of bounds */
    uint16_t repeated; /* DATA sent again */
    uint16_t refused;  /* frames of readings that were not kept */
    uint16_t renewed;  /* times that the ring's memory was found damaged, or behind what the host has */
} el_counts;

/* All that is remembered. Not for the program to write; el_counts and `welcomed` may be read. */
typedef struct {
    const el_config *config;
    el_counts counts;
    bool welcomed, settled; /* settled: the host has said where it stands since the start */
    uint32_t epoch, first, fresh, next, session, schema;
    uint16_t boot;
    EL_OFFSET capacity, used, first_at, next_at;
    uint16_t host_frame_max, retry_ms, sent_ms[EL_WINDOW_MAX];
    el_frames sent, held; /* a bit for each frame of the window, the oldest is the lowest */
    uint8_t window, slot;
#if EL_WINDOW_MAX > 8
    uint8_t window_max; /* of this board; window is what the host takes of it */
#endif
    uint32_t hello_ms, heard_ms;

    uint16_t open_size; /* of the frame of readings that is being put together; 0: none */
    uint32_t open_crc;
    bool open_good;

    uint16_t in_size;
    uint8_t in_code, in_left;
    bool in_bad;

    uint16_t due; /* answers that wait for the line */
    uint16_t out_size, out_at;
    uint8_t out_stage, out_run, out_data; /* out_data: place in the window plus 1, 0 for other frames */
    bool out_full;

    uint8_t schema_index;
    uint16_t clock_token, ping_token;
    uint32_t clock_got_ms;
    uint32_t wall_board_ms;
    uint8_t wall_unix_ms[8];
    bool wall_known;

    uint32_t command_session, reply_session;
    uint16_t command_id, reply_id, result_size;
    uint8_t command_status;
    bool command_known;
} el_board;

typedef enum { EL_OK, EL_BAD_FRAMES, EL_BAD_RING, EL_BAD_UID, EL_BAD_SCHEMA, EL_BAD_CALLBACKS } el_error;

/* Begins, or goes on with what a kept ring holds. The board may be anything before. */
el_error el_start(el_board *board, const el_config *config);

/* Bytes from the line, in any pieces. The command handler and the image callbacks are called from here. */
void el_receive(el_board *board, const uint8_t *bytes, size_t count);

/* Sends what is due. Call it often: every millisecond is good, every 50 ms works. True if the line could not take all
 * of a frame, so that it wants to be called again soon. */
bool el_poll(el_board *board);

/* A frame of readings, stamped with the time of el_begin. el_put_... adds one: its channel has to be in the schema and
 * the value has to fit the channel's kind. el_commit keeps the frame in the ring: only true if everything fitted;
 * otherwise nothing of it is kept. */
void el_begin(el_board *board);
void el_put_int(el_board *board, uint8_t channel, int32_t value);   /* any kind of whole number, bool */
void el_put_uint(el_board *board, uint8_t channel, uint32_t value); /* likewise */
void el_put_i64(el_board *board, uint8_t channel, int64_t value);
void el_put_u64(el_board *board, uint8_t channel, uint64_t value);
void el_put_float(el_board *board, uint8_t channel, float value);   /* EL_F32 */
#if DBL_MANT_DIG == 53
void el_put_double(el_board *board, uint8_t channel, double value); /* EL_F64 */
#endif
void el_put_bytes(el_board *board, uint8_t channel, const void *bytes, uint8_t count); /* EL_BYTES and EL_TEXT */
bool el_commit(el_board *board);

/* Frames of readings that the edge's stream does not have yet. */
uint32_t el_waiting(const el_board *board);

/* A line for the host's log, cut at what fits. False if a frame is still on its way out: then it is not said. */
bool el_log(el_board *board, uint8_t level, const char *text);

/* True when no frame is half written: the moment to print text on the same line. */
bool el_idle(const el_board *board);

/* Milliseconds since the host was last heard. */
uint32_t el_silence_ms(const el_board *board);

/* The edge's time as the host told it. False if it has not. */
bool el_unix_ms(const el_board *board, uint64_t *unix_ms);

bool el_is(const el_command *command, const char *name);

/* The end of a command that was EL_STILL_AT_IT. */
void el_finish(el_board *board, uint8_t status, const void *result, uint16_t count);

uint32_t el_crc32(uint32_t crc, const uint8_t *bytes, uint16_t count); /* begin with 0 */

#ifdef __cplusplus
}
#endif
#endif
