/* EdgeLink/1, the board's side. From the bottom up: numbers and checksums, the ring, frames out, frames in, what the
 * types mean, sending in order, and what the program calls.
 *
 * The ring is a queue of frames of readings: size u16, with a kept ring the crc32 of (epoch, seq, payload, size), payload
 * (board_ms and readings, as they go over the line). A kept ring begins with two slots of 16 bytes: epoch, first, offset of
 * that frame, crc32. They are written in turn when frames become free, so one is whole wherever power is lost; where the
 * frames end follows from their checksums, in which a frame of an earlier round has another number. So a reading costs no
 * write to a fixed place. A frame that is damaged is not sent: the ring is looked through for the next one that is whole.
 *
 * Whatever comes in is checked against its size before it is read, and sizes in the ring are checked as well: the memory
 * may be damaged. An int may have 16 bits here and bytes may not lie as on the line: numbers go byte by byte. */
#include "edgelink.h"

#include <string.h>

enum {
    HELLO = 1, WELCOME, ASK, SCHEMA_GET, SCHEMA, DATA, ACK, CMD, REPLY, CLOCK_GET, CLOCK, LOG, IMAGE, IMAGE_STATE, PING
};
enum { DUE_REPLY = 1, DUE_IMAGE = 2, DUE_CLOCK = 4, DUE_PONG = 8, DUE_HELLO = 16, DUE_SCHEMA = 32 };
enum { STAGE_IDLE, STAGE_BEFORE, STAGE_CODE, STAGE_RUN, STAGE_AFTER };

#define VERSION 0x10u
#define CRC_SIZE 4u
#define DATA_FRAME 9u   /* a DATA body without board_ms and readings: head, tag, seq, crc32 */
#define STAMP_SIZE 4u   /* board_ms */
#define SLOT_SIZE 16u
#define SLOT_CRC 0x314C45UL /* "EL1": zeros have a checksum of zeros otherwise */
#define SKIPPED_MAX 8u /* numbers of frames that may be damaged side by side */
#define RUN_MAX 254u
#define HELLO_EVERY_MS 1000u
#if EL_WINDOW_MAX > 8
typedef uint64_t el_wide; /* what shifts need */
#else
typedef unsigned el_wide;
#endif

#define WINDOW_ANY 8u /* what every host takes */
#define RETRY_MS 200u
#define RETRY_MS_MAX 5000u

/* Numbers */

static void store16(uint8_t *to, uint16_t value) {
    to[0] = (uint8_t)(value & 0xFFu);
    to[1] = (uint8_t)(value >> 8);
}

static void store32(uint8_t *to, uint32_t value) {
    store16(to, (uint16_t)(value & 0xFFFFu));
    store16(to + 2, (uint16_t)(value >> 16));
}

static uint16_t load16(const uint8_t *from) { return (uint16_t)(from[0] | (uint16_t)((uint16_t)from[1] << 8)); }

static uint32_t load32(const uint8_t *from) { return load16(from) | ((uint32_t)load16(from + 2) << 16); }

static void count(uint16_t *counter) {
    if (*counter != UINT16_MAX) ++*counter;
}

uint32_t el_crc32(uint32_t crc, const uint8_t *bytes, uint16_t size) {
    crc = ~crc;
    while (size-- != 0) {
        crc ^= *bytes++;
        for (uint8_t bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xEDB88320UL : 0UL);
    }
    return ~crc;
}

static uint32_t crc_number(uint32_t crc, uint32_t number) {
    uint8_t bytes[4];
    store32(bytes, number);
    return el_crc32(crc, bytes, 4);
}

static uint32_t now_ms(const el_board *board) { return board->config->now_ms(board->config->user); }

/* Names this start of this board. */
static uint16_t tag_of(const el_board *board) {
    return (uint16_t)(((board->epoch ^ (board->epoch >> 16)) & 0xFFFFu) ^ board->boot);
}

/* The ring */

static uint8_t kept_head(const el_board *board) { return board->config->ring_kept ? EL_KEPT_HEAD : 0u; }

static uint8_t entry_head(const el_board *board) { return board->config->ring_kept ? 6u : 2u; }

static EL_OFFSET after(const el_board *board, EL_OFFSET at, uint16_t size) {
    EL_OFFSET left = (EL_OFFSET)(board->capacity - at);
    return size < left ? (EL_OFFSET)(at + size) : (EL_OFFSET)(size - left);
}

static void memory_read(const el_board *board, EL_OFFSET at, uint8_t *into, uint16_t size) {
    const el_config *config = board->config;
    if (config->ring != NULL) memcpy(into, config->ring + at, size);
    else config->ring_read(config->user, at, into, size);
}

static void memory_write(const el_board *board, EL_OFFSET at, const uint8_t *from, uint16_t size) {
    const el_config *config = board->config;
    if (config->ring != NULL) memcpy(config->ring + at, from, size);
    else config->ring_write(config->user, at, from, size);
}

static uint16_t before_end(const el_board *board, EL_OFFSET at, uint16_t size) {
    EL_OFFSET left = (EL_OFFSET)(board->capacity - at);
    return size < left ? size : (uint16_t)left;
}

static void ring_read(const el_board *board, EL_OFFSET at, uint8_t *into, uint16_t size) {
    uint16_t part = before_end(board, at, size);
    EL_OFFSET base = kept_head(board);
    memory_read(board, (EL_OFFSET)(base + at), into, part);
    if (part < size) memory_read(board, base, into + part, (uint16_t)(size - part));
}

static void ring_write(const el_board *board, EL_OFFSET at, const uint8_t *from, uint16_t size) {
    uint16_t part = before_end(board, at, size);
    EL_OFFSET base = kept_head(board);
    memory_write(board, (EL_OFFSET)(base + at), from, part);
    if (part < size) memory_write(board, base, from + part, (uint16_t)(size - part));
}

static void write_slot(el_board *board) {
    uint8_t slot[SLOT_SIZE];
    if (!board->config->ring_kept) return;
    store32(slot, board->epoch);
    store32(slot + 4, board->first);
    store32(slot + 8, board->first_at);
    store32(slot + 12, el_crc32(SLOT_CRC, slot, 12));
    board->slot ^= 1u;
    memory_write(board, (EL_OFFSET)(board->slot * SLOT_SIZE), slot, SLOT_SIZE);
}

static void forget_window(el_board *board) {
    board->sent = board->held = board->out_data = 0;
    board->retry_ms = board->config->retry_ms != 0 ? board->config->retry_ms : RETRY_MS;
}

static const uint8_t nothing[SLOT_SIZE] = {0};

/* An empty ring of a new epoch. */
static void ring_begin(el_board *board) {
    const el_config *config = board->config;
    uint32_t epoch = crc_number(crc_number(crc_number(0, board->epoch), config->random), now_ms(board));
    if (epoch == board->epoch) epoch++;
    board->epoch = epoch;
    board->first = board->next = board->fresh = 0;
    board->used = board->first_at = board->next_at = 0;
    board->open_good = false;
    board->welcomed = board->settled = false;
    board->due |= DUE_HELLO;
    forget_window(board);
    if (config->ring_kept) {
        memory_write(board, SLOT_SIZE, nothing, SLOT_SIZE); /* else an old slot could be the newer one */
        board->slot = 1;
        write_slot(board);
    }
}

/* Bytes of payload of the frame there, 0 if there cannot be one. */
static uint16_t entry_size(const el_board *board, EL_OFFSET at) {
    uint8_t bytes[2];
    ring_read(board, at, bytes, 2);
    uint16_t size = load16(bytes);
    if (size <= STAMP_SIZE || size > board->config->frame_out_size - DATA_FRAME) return 0;
    return size <= (EL_OFFSET)(board->capacity - entry_head(board)) ? size : 0u;
}

static uint32_t entry_crc(const el_board *board, uint32_t seq) {
    return crc_number(crc_number(0, board->epoch), seq);
}

/* The checksum that the frame there has to have if it is frame seq. */
static uint32_t entry_sum(const el_board *board, EL_OFFSET at, uint16_t size, uint32_t seq) {
    uint8_t bytes[8];
    uint32_t crc = entry_crc(board, seq);
    at = after(board, at, entry_head(board));
    for (uint16_t left = size, part; left != 0; left = (uint16_t)(left - part), at = after(board, at, part)) {
        part = left < sizeof bytes ? left : (uint16_t)sizeof bytes;
        ring_read(board, at, bytes, part);
        crc = el_crc32(crc, bytes, part);
    }
    store16(bytes, size);
    return el_crc32(crc, bytes, 2);
}

/* The size of frame seq if that is there and whole, else 0. Without checksums it is enough that there can be a frame. */
static uint16_t entry_whole(const el_board *board, EL_OFFSET at, uint32_t seq) {
    uint8_t head[6];
    uint16_t size = entry_size(board, at);
    if (size == 0 || !board->config->ring_kept) return size;
    ring_read(board, at, head, sizeof head);
    return load32(head + 2) == entry_sum(board, at, size, seq) ? size : 0u;
}

/* What is damaged has no size to go by: looks for a whole frame of some numbers from *seq on, at each of *left bytes. */
static bool ring_look(const el_board *board, EL_OFFSET *at, EL_OFFSET *left, uint32_t *seq) {
    for (; *left != 0; --*left, *at = after(board, *at, 1)) {
        if (entry_size(board, *at) == 0) continue;
        for (uint8_t i = 0; i < SKIPPED_MAX; i++) {
            if (entry_whole(board, *at, *seq + i) != 0) {
                *seq += i;
                return true;
            }
        }
    }
    return false;
}

static bool read_slot(const el_board *board, uint8_t slot, uint32_t *epoch, uint32_t *first, uint32_t *at) {
    uint8_t bytes[SLOT_SIZE];
    memory_read(board, (EL_OFFSET)(slot * SLOT_SIZE), bytes, SLOT_SIZE);
    *epoch = load32(bytes);
    *first = load32(bytes + 4);
    *at = load32(bytes + 8);
    return load32(bytes + 12) == el_crc32(SLOT_CRC, bytes, 12) && *at < board->capacity;
}

static bool read_slots(el_board *board) {
    uint32_t epoch[2], first[2], at[2];
    bool good0 = read_slot(board, 0, &epoch[0], &first[0], &at[0]);
    bool good1 = read_slot(board, 1, &epoch[1], &first[1], &at[1]);
    if (!good0 && !good1) return false;
    uint8_t newest = !good0 || (good1 && (uint32_t)(first[1] - first[0]) < 0x80000000UL) ? 1u : 0u;
    board->slot = newest;
    board->epoch = epoch[newest];
    board->first = board->next = first[newest];
    board->first_at = board->next_at = (EL_OFFSET)at[newest];
    return true;
}

/* Behind frames that are damaged, and no longer than one may be, others may be whole: the ring has them as well. */
static bool ring_skip(el_board *board) {
    EL_OFFSET free = (EL_OFFSET)(board->capacity - board->used), at = after(board, board->next_at, 1);
    EL_OFFSET reach = board->config->frame_out_size, left;
    uint32_t seq = board->next + 1;
    if (free <= reach) reach = free != 0 ? (EL_OFFSET)(free - 1u) : 0u;
    left = reach;
    if (!ring_look(board, &at, &left, &seq)) return false;
    board->used = (EL_OFFSET)(board->used + reach - left + 1u);
    board->next_at = at;
    board->next = seq;
    return true;
}

/* Finds the frames that a kept ring holds. */
static bool ring_recover(el_board *board) {
    if (!read_slots(board)) return false;
    for (;;) {
        uint16_t size = entry_whole(board, board->next_at, board->next);
        EL_OFFSET free = (EL_OFFSET)(board->capacity - board->used);
        if (size == 0 && ring_skip(board)) continue;
        if (size == 0 || free < size + 6u) break;
        board->next_at = after(board, board->next_at, (uint16_t)(size + 6u));
        board->used = (EL_OFFSET)(board->used + size + 6u);
        board->next++;
    }
    board->fresh = board->next;
    return true;
}

static el_frames without_oldest(el_frames frames, uint8_t count) {
#if EL_WINDOW_MAX == 64
    if (count >= EL_WINDOW_MAX) return 0; /* all of its bits are more than a shift can do */
#endif
    return (el_frames)((el_wide)frames >> count);
}

/* What is before seq is durable elsewhere, and what stands at the beginning is damaged. The first frame from seq on that is
 * whole is the oldest from now on, which HELLO says, so that the host names those between as lost. */
static void ring_mend(el_board *board, uint32_t seq) {
    count(&board->counts.renewed);
    if (!board->config->ring_kept) {
        ring_begin(board);
        return;
    }
    if (!ring_look(board, &board->first_at, &board->used, &seq) || seq - board->first >= board->next - board->first) {
        seq = board->next;
        board->first_at = board->next_at;
        board->used = 0;
    }
    board->first = seq;
    if ((uint32_t)(board->first - board->fresh) < 0x80000000UL) board->fresh = board->first;
    board->welcomed = false;
    board->due |= DUE_HELLO;
    forget_window(board);
    write_slot(board);
}

/* The oldest frames are durable elsewhere. False if the ring was damaged. */
static bool ring_free(el_board *board, uint32_t frames) {
    uint32_t until = board->first + frames;
    if (frames == 0) return true;
    if (until == board->next) {
        board->first_at = board->next_at; /* whatever damaged sizes say */
        board->used = 0;
        board->first = until;
    }
    while (board->first != until) {
        uint16_t size = entry_whole(board, board->first_at, board->first);
        if (size == 0 || (uint32_t)size + entry_head(board) >= board->used) {
            ring_mend(board, until);
            return false;
        }
        size = (uint16_t)(size + entry_head(board));
        board->first_at = after(board, board->first_at, size);
        board->used = (EL_OFFSET)(board->used - size);
        board->first++;
    }
    uint8_t moved = frames < EL_WINDOW_MAX ? (uint8_t)frames : (uint8_t)EL_WINDOW_MAX;
    board->sent = without_oldest(board->sent, moved);
    board->held = without_oldest(board->held, moved);
    board->out_data = board->out_data > moved ? (uint8_t)(board->out_data - moved) : 0u;
    memmove(board->sent_ms, board->sent_ms + moved, (size_t)(EL_WINDOW_MAX - moved) * sizeof board->sent_ms[0]);
    write_slot(board);
    return true;
}

/* Frames of numbers that will be given again must not be found. */
static void ring_wipe(el_board *board) {
    EL_OFFSET left = (EL_OFFSET)(board->capacity - board->used), at = board->next_at;
    for (uint16_t part; left != 0; left = (EL_OFFSET)(left - part), at = after(board, at, part)) {
        part = left < sizeof nothing ? (uint16_t)left : (uint16_t)sizeof nothing;
        ring_write(board, at, nothing, part);
    }
}

/* The host has numbers that this ring has not given yet: its memory went back in time. What was made since the start gets
 * new ones. A frame of readings that is open is given up, since its checksum is of another number. */
static void ring_go_on_at(el_board *board, uint32_t next) {
    if (!ring_free(board, board->fresh - board->first)) return;
    count(&board->counts.renewed);
    uint32_t frames = board->next - board->first, seq = board->first;
    EL_OFFSET at = board->first_at;
    board->open_good = false;
    if (board->config->ring_kept) ring_wipe(board);
    board->first = board->next = board->fresh = next;
    write_slot(board);
    for (; frames != 0; frames--) {
        uint8_t bytes[6];
        uint16_t size = entry_whole(board, at, seq++);
        if (size == 0) break;
        store16(bytes, size);
        if (board->config->ring_kept) store32(bytes + 2, entry_sum(board, at, size, board->next));
        ring_write(board, at, bytes, entry_head(board));
        at = after(board, at, (uint16_t)(entry_head(board) + size));
        board->next++;
    }
    if (frames != 0) ring_begin(board);
}

/* Frames out: a body is put together in frame_out and encoded on its way to the line. */

static void put8(el_board *board, uint8_t value) {
    if (board->out_size < board->config->frame_out_size) board->config->frame_out[board->out_size++] = value;
}

static void put16(el_board *board, uint16_t value) {
    put8(board, (uint8_t)(value & 0xFFu));
    put8(board, (uint8_t)(value >> 8));
}

static void put32(el_board *board, uint32_t value) {
    put16(board, (uint16_t)(value & 0xFFFFu));
    put16(board, (uint16_t)(value >> 16));
}

static void put_all(el_board *board, const void *bytes, uint16_t size) {
    const uint8_t *from = bytes;
    while (size-- != 0) put8(board, *from++);
}

static void put_str(el_board *board, const void *text, uint8_t size) {
    put8(board, size);
    put_all(board, text, size);
}

static void frame_begin(el_board *board, uint8_t type) {
    board->out_size = 0;
    board->out_data = 0;
    put8(board, (uint8_t)(VERSION | type));
}

static void frame_end(el_board *board) {
    put32(board, el_crc32(0, board->config->frame_out, board->out_size));
    board->out_at = 0;
    board->out_stage = STAGE_BEFORE;
}

/* Bytes up to the next zero. */
static uint8_t run_length(const el_board *board) {
    const uint8_t *from = board->config->frame_out + board->out_at;
    uint16_t left = (uint16_t)(board->out_size - board->out_at), run = 0;
    if (left > RUN_MAX) left = RUN_MAX;
    while (run < left && from[run] != 0) run++;
    return (uint8_t)run;
}

static bool write_byte(const el_board *board, uint8_t byte) {
    return board->config->write(board->config->user, &byte, 1) != 0;
}

static bool write_run(el_board *board) {
    const el_config *config = board->config;
    while (board->out_run != 0) {
        uint16_t taken = config->write(config->user, config->frame_out + board->out_at, board->out_run);
        if (taken == 0 || taken > board->out_run) return false;
        board->out_at = (uint16_t)(board->out_at + taken);
        board->out_run = (uint8_t)(board->out_run - taken);
    }
    return true;
}

/* True when there is nothing left to write. */
static bool flush(el_board *board) {
    while (board->out_stage != STAGE_IDLE) {
        if (board->out_stage == STAGE_RUN) {
            if (!write_run(board)) return false;
            if (board->out_at == board->out_size) {
                board->out_stage = STAGE_AFTER;
            } else {
                if (!board->out_full) board->out_at++; /* the zero that the code stands for */
                board->out_stage = STAGE_CODE;
            }
        } else if (board->out_stage == STAGE_CODE) {
            uint8_t run = run_length(board);
            if (!write_byte(board, (uint8_t)(run + 1u))) return false;
            board->out_run = run;
            board->out_full = run == RUN_MAX;
            board->out_stage = STAGE_RUN;
        } else {
            if (!write_byte(board, 0)) return false;
            if (board->out_stage == STAGE_BEFORE) {
                board->out_stage = STAGE_CODE;
            } else {
                board->out_stage = STAGE_IDLE;
                if (board->out_data != 0) {
                    board->sent_ms[board->out_data - 1u] = (uint16_t)(now_ms(board) & 0xFFFFu);
                    board->out_data = 0;
                }
            }
        }
    }
    return true;
}

static uint16_t payload_room(const el_board *board) {
    uint16_t room = board->config->frame_out_size;
    return room < board->host_frame_max ? room : board->host_frame_max;
}

static void put_schema_entry(el_board *board, const el_channel *channel) {
    put8(board, channel->channel);
    put8(board, channel->kind);
    put8(board, (uint8_t)channel->exponent);
    put_str(board, channel->name, (uint8_t)strlen(channel->name));
    put_str(board, channel->unit, (uint8_t)strlen(channel->unit));
}

static uint16_t caps(const el_config *config) {
    uint16_t set = config->caps;
    if (config->command != NULL) set |= EL_CAP_COMMANDS;
    if (config->ring_kept) set |= EL_CAP_KEPT;
#if EL_IMAGES
    if (config->images != NULL) set |= EL_CAP_IMAGES;
#endif
    return set;
}

/* What HELLO says to any host. */
static uint8_t window_any(const el_board *board) {
#if EL_WINDOW_MAX > 8
    return board->window_max < WINDOW_ANY ? board->window_max : (uint8_t)WINDOW_ANY;
#else
    return board->window;
#endif
}

static void say_hello(el_board *board) {
    const el_config *config = board->config;
    frame_begin(board, HELLO);
    put_str(board, config->uid, config->uid_size);
    put32(board, board->epoch);
    put32(board, board->first);
    put32(board, board->fresh);
    put16(board, board->boot);
    put8(board, config->reason);
    put8(board, window_any(board));
    put16(board, config->frame_in_size);
    put16(board, caps(config));
    put32(board, board->schema);
    put_str(board, config->firmware, (uint8_t)strlen(config->firmware));
#if EL_WINDOW_MAX > 8
    if (board->window_max > WINDOW_ANY) put8(board, board->window_max);
#endif
    frame_end(board);
    board->hello_ms = now_ms(board);
}

static void say_schema(el_board *board) {
    const el_config *config = board->config;
    uint8_t index = board->schema_index;
    frame_begin(board, SCHEMA);
    put32(board, board->schema);
    put8(board, index);
    put8(board, config->channel_count);
    put_schema_entry(board, &config->channels[index]);
    frame_end(board);
}

static void say_reply(el_board *board) {
    bool own = board->reply_session == board->command_session && board->reply_id == board->command_id;
    frame_begin(board, REPLY);
    put32(board, board->reply_session);
    put16(board, board->reply_id);
    put8(board, own ? board->command_status : (uint8_t)EL_STILL_AT_IT);
    if (own) put_all(board, board->config->result, board->result_size);
    frame_end(board);
}

static void say_clock(el_board *board) {
    frame_begin(board, CLOCK);
    put16(board, tag_of(board));
    put16(board, board->clock_token);
    put32(board, board->clock_got_ms);
    put32(board, now_ms(board));
    frame_end(board);
}

static void say_pong(el_board *board) {
    frame_begin(board, PING);
    put16(board, board->ping_token);
    put8(board, 1);
    frame_end(board);
}

#if EL_IMAGES
static void say_image_state(el_board *board) {
    const el_images *images = board->config->images;
    frame_begin(board, IMAGE_STATE);
    put8(board, images->state);
    put32(board, images->image);
    put32(board, images->offset);
    frame_end(board);
}
#endif

/* What waits for the line, the most urgent first. False if nothing does. */
static bool say_due(el_board *board) {
    static const struct {
        uint8_t due;
        void (*say)(el_board *board);
    } answers[] = {
        {DUE_CLOCK, say_clock},
        {DUE_REPLY, say_reply},
#if EL_IMAGES
        {DUE_IMAGE, say_image_state},
#endif
        {DUE_PONG, say_pong},
        {DUE_HELLO, say_hello},
        {DUE_SCHEMA, say_schema},
    };
    for (uint8_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if ((board->due & answers[i].due) != 0) {
            board->due &= (uint8_t)~answers[i].due;
            answers[i].say(board);
            return true;
        }
    }
    return false;
}

/* Sending in order */

static el_frames bit_of(uint8_t place) { return (el_frames)((el_wide)1u << place); }

static uint8_t in_window(const el_board *board) {
    uint32_t frames = board->next - board->first;
    return frames < board->window ? (uint8_t)frames : board->window;
}

/* Marks frames whose time is over as not sent. */
static void expire(el_board *board, uint8_t frames) {
    uint16_t now = (uint16_t)(now_ms(board) & 0xFFFFu), retry_ms = board->retry_ms;
    /* If all of them are held the oldest is sent again: the ACK that it became durable may have been lost, and nothing else
     * would bring another one. */
    bool all_held = (el_frames)(board->sent & (el_frames)~board->held) == 0;
    for (uint8_t i = 0; i < frames; i++) {
        el_frames bit = bit_of(i);
        if ((board->held & bit) != 0 && (i != 0 || !all_held)) continue;
        if ((board->sent & bit) == 0 || (uint16_t)(now - board->sent_ms[i]) < retry_ms) continue;
        board->sent &= (el_frames)~bit;
        count(&board->counts.repeated);
        if (board->retry_ms == retry_ms)
            board->retry_ms = retry_ms < RETRY_MS_MAX / 2u ? (uint16_t)(2u * retry_ms) : (uint16_t)RETRY_MS_MAX;
    }
}

static void say_data(el_board *board, uint8_t place, EL_OFFSET at, uint16_t size) {
    uint8_t *into = board->config->frame_out;
    frame_begin(board, DATA);
    put16(board, tag_of(board));
    put16(board, (uint16_t)((board->first + place) & 0xFFFFu));
    ring_read(board, after(board, at, entry_head(board)), into + board->out_size, size);
    board->out_size = (uint16_t)(board->out_size + size);
    frame_end(board);
    board->out_data = (uint8_t)(place + 1u);
    board->sent = (el_frames)(board->sent | bit_of(place));
}

/* The first frame of the window that is not on its way. False if there is none. */
static bool say_readings(el_board *board) {
    uint8_t frames = in_window(board);
    EL_OFFSET at = board->first_at;
    if (!board->welcomed || frames == 0) return false;
    expire(board, frames);
    for (uint8_t i = 0; i < frames; i++) {
        bool sent = (board->sent & bit_of(i)) != 0;
        uint16_t size = sent ? entry_size(board, at) : entry_whole(board, at, board->first + i);
        if (size == 0) {
            if (i == 0) ring_mend(board, board->first);
            return i == 0; /* those before it first, so that the host knows what is missing */
        }
        if (!sent) {
            if (size + DATA_FRAME > board->host_frame_max) return false; /* made for a host that takes more */
            say_data(board, i, at, size);
            return true;
        }
        at = after(board, at, (uint16_t)(size + entry_head(board)));
    }
    return false;
}

/* Frames in: what each type means. n is the size of the payload p. */

/* The host speaks to another board, or to this one before a reset. */
static void doubt(el_board *board) {
    count(&board->counts.foreign);
    if (now_ms(board) - board->hello_ms >= HELLO_EVERY_MS) board->due |= DUE_HELLO;
}

static void take_welcome(el_board *board, const uint8_t *p, uint16_t n) {
    uint16_t frame_max = n < 12 ? 0u : load16(p + 10);
    if (frame_max < EL_FRAME_LEAST || frame_max > EL_FRAME_MAX) {
        count(&board->counts.foreign);
        return;
    }
    if (load16(p + 4) != tag_of(board)) {
        doubt(board);
        return;
    }
    /* What was made since the start cannot be durable before the first WELCOME */
    uint32_t made = (board->settled ? board->next : board->fresh) - board->first;
    uint32_t moved = load32(p + 6) - board->first;
    board->due &= (uint8_t)~DUE_HELLO;
    if (moved > made && moved < 0x80000000UL) {
        board->fresh = board->first + made;
        ring_go_on_at(board, load32(p + 6));
        if ((board->due & DUE_HELLO) != 0) return; /* the ring was damaged */
    } else if (moved <= made && !ring_free(board, moved)) {
        return;
    }
    board->settled = true;
    board->host_frame_max = frame_max < EL_FRAME_MIN ? (uint16_t)EL_FRAME_MIN : frame_max;
    board->session = load32(p);
    board->welcomed = true;
#if EL_WINDOW_MAX > 8
    board->window = window_any(board);
    if (n > 12 && p[12] > board->window) board->window = p[12] < board->window_max ? p[12] : board->window_max;
#endif
    forget_window(board);
}

static void take_ask(el_board *board, const uint8_t *p, uint16_t n) {
    if (n < 4) {
        count(&board->counts.foreign);
        return;
    }
    if (load32(p) != board->session) board->welcomed = false;
    board->due |= DUE_HELLO;
}

/* A frame that the host misses though it reports a later one for the first time. */
static void repeat_missed(el_board *board, el_frames held) {
    el_frames fresh = (el_frames)(held & (el_frames)~board->held);
    board->held = held;
    for (uint8_t i = 0; i < EL_WINDOW_MAX && (fresh >> i) > 1; i++) {
        el_frames bit = bit_of(i);
        if ((held & bit) != 0 || (board->sent & bit) == 0 || board->out_data == i + 1) continue;
        board->sent &= (el_frames)~bit;
        count(&board->counts.repeated);
    }
}

static void take_ack(el_board *board, const uint8_t *p, uint16_t n) {
    if (n >= 5 && load16(p) != tag_of(board)) {
        doubt(board);
        return;
    }
    uint16_t moved = n < 5 ? UINT16_MAX : (uint16_t)(load16(p + 2) - (uint16_t)(board->first & 0xFFFFu));
    if (n >= 5 && moved >= 0x8000u && board->welcomed) {
        doubt(board); /* the host waits for what is not here any more */
        return;
    }
    if (moved > in_window(board) || !board->welcomed) {
        count(&board->counts.foreign);
        return;
    }
    if (moved != 0) {
        ring_free(board, moved);
        board->retry_ms = board->config->retry_ms != 0 ? board->config->retry_ms : RETRY_MS;
    }
#if EL_WINDOW_MAX > 8
    el_frames held = 0;
    for (uint8_t i = 0; i < in_window(board) && 4u + i / 8u < n; i++)
        if ((p[4u + i / 8u] & (1u << (i % 8u))) != 0) held = (el_frames)(held | bit_of(i));
    repeat_missed(board, held);
#else
    repeat_missed(board, (el_frames)(p[4] & (0xFFu >> (8u - in_window(board)))));
#endif
}

static uint16_t result_room(const el_board *board) {
    uint16_t room = (uint16_t)(payload_room(board) - 12u); /* head, session, id, status, crc32 */
    return room < board->config->result_size ? room : board->config->result_size;
}

static void run_command(el_board *board, const uint8_t *p, uint16_t n) {
    const el_config *config = board->config;
    el_command command;
    command.within_ms = load16(p + 6);
    command.name_size = p[8];
    command.name = (const char *)(p + 9);
    command.argument = p + 9 + command.name_size;
    command.argument_size = (uint16_t)(n - 9u - command.name_size);
    command.result = config->result;
    command.result_size = result_room(board);
    board->command_known = true;
    board->command_session = load32(p);
    board->command_id = load16(p + 4);
    board->command_status = EL_STILL_AT_IT;
    board->result_size = 0;
    uint16_t room = command.result_size;
    uint8_t status = config->command(config->user, &command);
    board->command_status = status;
    if (status != EL_STILL_AT_IT) board->result_size = command.result_size < room ? command.result_size : room;
}

/* Done once, and answered as often as the host asks. A command of a host that was not welcomed is an old one. */
static void take_command(el_board *board, const uint8_t *p, uint16_t n) {
    if (n < 9 || n - 9u < p[8] || !board->welcomed || load32(p) != board->session || board->config->command == NULL) {
        count(&board->counts.foreign);
        return;
    }
    board->reply_session = load32(p);
    board->reply_id = load16(p + 4);
    board->due |= DUE_REPLY;
    if (board->command_known) {
        if (board->command_session == board->reply_session && board->command_id == board->reply_id) return;
        if (board->command_status == EL_STILL_AT_IT) return; /* with the former one: the host asks again */
    }
    run_command(board, p, n);
}

static void take_clock_get(el_board *board, const uint8_t *p, uint16_t n) {
    if (n < 15) {
        count(&board->counts.foreign);
        return;
    }
    board->clock_token = load16(p);
    board->clock_got_ms = now_ms(board);
    board->due |= DUE_CLOCK;
    if (p[2] == 1) {
        board->wall_known = true;
        board->wall_board_ms = load32(p + 3);
        memcpy(board->wall_unix_ms, p + 7, 8);
    }
}

static void take_ping(el_board *board, const uint8_t *p, uint16_t n) {
    if (n < 3) {
        count(&board->counts.foreign);
    } else if (p[2] == 0) {
        board->ping_token = load16(p);
        board->due |= DUE_PONG;
    }
}

#if EL_IMAGES
static void take_image(el_board *board, const uint8_t *p, uint16_t n);
#endif

static void take_payload(el_board *board, uint8_t type, const uint8_t *p, uint16_t n) {
    switch (type) {
    case WELCOME: take_welcome(board, p, n); return;
    case ASK: take_ask(board, p, n); return;
    case ACK: take_ack(board, p, n); return;
    case CMD: take_command(board, p, n); return;
    case CLOCK_GET: take_clock_get(board, p, n); return;
    case PING: take_ping(board, p, n); return;
    case SCHEMA_GET:
        if (n != 0 && p[0] < board->config->channel_count) {
            board->schema_index = p[0];
            board->due |= DUE_SCHEMA;
            return;
        }
        break;
#if EL_IMAGES
    case IMAGE:
        if (board->config->images != NULL && board->welcomed && n >= 5) {
            take_image(board, p, n);
            return;
        }
        break;
#endif
    default: break;
    }
    count(&board->counts.foreign);
}

static void take_body(el_board *board) {
    const uint8_t *body = board->config->frame_in;
    uint16_t n = board->in_size;
    if (n < 1 + CRC_SIZE || load32(body + n - CRC_SIZE) != el_crc32(0, body, (uint16_t)(n - CRC_SIZE))) {
        count(&board->counts.noise);
        return;
    }
    count(&board->counts.frames);
    board->heard_ms = now_ms(board);
    if ((body[0] & 0xF0u) != VERSION) count(&board->counts.foreign);
    else take_payload(board, body[0] & 0x0Fu, body + 1, (uint16_t)(n - 1 - CRC_SIZE));
}

static void keep(el_board *board, uint8_t byte) {
    if (board->in_size < board->config->frame_in_size) board->config->frame_in[board->in_size++] = byte;
    else board->in_bad = true;
}

static void take_byte(el_board *board, uint8_t byte) {
    if (byte == 0) {
        if (board->in_code != 0) {
            if (board->in_bad || board->in_left != 0) count(&board->counts.noise);
            else take_body(board);
        }
        board->in_size = 0;
        board->in_code = board->in_left = 0;
        board->in_bad = false;
    } else if (board->in_bad) {
        return;
    } else if (board->in_left != 0) {
        board->in_left--;
        keep(board, byte);
    } else {
        if (board->in_code != 0 && board->in_code != RUN_MAX + 1u) keep(board, 0);
        board->in_code = byte;
        board->in_left = (uint8_t)(byte - 1u);
    }
}

/* Images */

#if EL_IMAGES
static uint32_t rotated(uint32_t value, uint8_t by) { return (value >> by) | (value << (32u - by)); }

/* One block of SHA-256 (FIPS 180-4), with the message schedule in sixteen words. */
static void hash_block(el_images *images) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[16], v[8];
    memcpy(v, images->hash.h, sizeof v);
    for (uint8_t i = 0; i < 64; i++) {
        uint8_t at = i & 15u;
        if (i < 16) {
            const uint8_t *b = images->hash.block + 4 * at;
            w[at] = ((uint32_t)b[0] << 24) | ((uint32_t)b[1] << 16) | ((uint32_t)b[2] << 8) | b[3];
        } else {
            uint32_t early = w[(at + 1) & 15], late = w[(at + 14) & 15];
            w[at] += w[(at + 9) & 15] + (rotated(early, 7) ^ rotated(early, 18) ^ (early >> 3)) +
                     (rotated(late, 17) ^ rotated(late, 19) ^ (late >> 10));
        }
        uint32_t t = v[7] + (rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)) +
                     ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[at];
        uint32_t u = (rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)) +
                     ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t;
        v[0] = t + u;
    }
    for (uint8_t i = 0; i < 8; i++) images->hash.h[i] += v[i];
}

static void hash_begin(el_images *images) {
    static const uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(images->hash.h, h, sizeof h);
    images->hash.hashed = 0;
}

/* The last blocks: the rest, a one, zeros, the number of bits. */
static bool hash_is_right(el_images *images, uint8_t rest) {
    uint8_t *block = images->hash.block, difference = 0;
    memset(block + rest, 0, (size_t)(64 - rest));
    block[rest] = 0x80;
    if (rest >= 56) {
        hash_block(images);
        memset(block, 0, 64);
    }
    uint32_t high = images->size >> 29, low = images->size << 3;
    for (uint8_t i = 0; i < 4; i++) {
        block[59 - i] = (uint8_t)((high >> (8 * i)) & 0xFFu);
        block[63 - i] = (uint8_t)((low >> (8 * i)) & 0xFFu);
    }
    hash_block(images);
    for (uint8_t i = 0; i < 32; i++)
        difference |= (uint8_t)(images->sha[i] ^ ((images->hash.h[i / 4] >> (24 - 8 * (i % 4))) & 0xFFu));
    return difference == 0;
}

enum { IMAGE_AT_REST, IMAGE_HASHING, IMAGE_TO_SAY, IMAGE_TO_RUN };

/* Some blocks in each el_poll, so that the line is not left alone for long. */
static void hash_on(el_board *board, el_images *images) {
    for (uint8_t blocks = 0; blocks < 4; blocks++) {
        uint32_t left = images->size - images->hash.hashed;
        uint8_t part = left < 64 ? (uint8_t)left : 64u;
        if (part != 0) images->read(board->config->user, images->hash.hashed, images->hash.block, part);
        images->hash.hashed += part;
        if (part < 64) {
            images->state = hash_is_right(images, part) ? EL_IMAGE_COMPLETE : EL_IMAGE_WRONG_HASH;
            images->finishing = images->state == EL_IMAGE_COMPLETE ? IMAGE_TO_SAY : IMAGE_AT_REST;
            board->due |= DUE_IMAGE;
            return;
        }
        hash_block(images);
    }
}

/* p: op, image, size, SHA-256, version */
static void image_begin(el_board *board, el_images *images, const uint8_t *p, uint16_t n) {
    if (n < 42 || n - 42u < p[41]) {
        count(&board->counts.foreign);
        return;
    }
    uint32_t size = load32(p + 5);
    if (images->state == EL_IMAGE_RECEIVING && images->size == size && memcmp(images->sha, p + 9, 32) == 0) return;
    images->finishing = IMAGE_AT_REST;
    images->image = load32(p + 1);
    images->size = size;
    images->offset = 0;
    memcpy(images->sha, p + 9, 32);
    images->state = size == 0 ? (uint8_t)EL_IMAGE_REFUSED
                              : images->begin(board->config->user, images->image, size, (const char *)(p + 42), p[41],
                                              &images->offset);
    if (images->offset > size) images->offset = 0;
}

static void image_chunk(el_board *board, el_images *images, const uint8_t *p, uint16_t n) {
    uint16_t size = (uint16_t)(n < 9 ? 0 : n - 9);
    if (size == 0 || load32(p + 5) != images->offset || size > images->size - images->offset) return;
    if (images->write(board->config->user, images->offset, p + 9, size)) images->offset += size;
    else images->state = EL_IMAGE_REFUSED;
}

static void take_image(el_board *board, const uint8_t *p, uint16_t n) {
    el_images *images = board->config->images;
    bool known = load32(p + 1) == images->image, receiving = known && images->state == EL_IMAGE_RECEIVING;
    if (p[0] == 0) image_begin(board, images, p, n);
    else if (p[0] == 1 && receiving && images->finishing == IMAGE_AT_REST) image_chunk(board, images, p, n);
    else if (p[0] == 2 && receiving && images->offset == images->size && images->finishing == IMAGE_AT_REST) {
        hash_begin(images);
        images->finishing = IMAGE_HASHING;
    } else if (p[0] == 3 && known) {
        images->state = EL_IMAGE_NONE;
        images->finishing = IMAGE_AT_REST;
    }
    board->due |= DUE_IMAGE;
}

/* The line is free. True if there is more to do with images. */
static bool image_work(el_board *board) {
    el_images *images = board->config->images;
    if (images == NULL) return false;
    if (images->finishing == IMAGE_HASHING) {
        hash_on(board, images);
        return true;
    }
    if (images->finishing == IMAGE_TO_SAY && (board->due & DUE_IMAGE) == 0) images->finishing = IMAGE_TO_RUN;
    else if (images->finishing == IMAGE_TO_RUN) {
        images->finishing = IMAGE_AT_REST;
        images->restart(board->config->user, images->image);
    }
    return false;
}
#endif

/* What the program calls */

static el_error check_schema(el_board *board) {
    const el_config *config = board->config;
    if (config->channel_count != 0 && config->channels == NULL) return EL_BAD_SCHEMA;
    for (uint8_t i = 0; i < config->channel_count; i++) {
        const el_channel *channel = &config->channels[i];
        if (channel->kind > EL_TEXT || strlen(channel->name) + strlen(channel->unit) > EL_FRAME_MIN - 16u)
            return EL_BAD_SCHEMA;
        board->out_size = 0;
        put_schema_entry(board, channel);
        board->schema = el_crc32(board->schema, config->frame_out, board->out_size);
    }
    return EL_OK;
}

static el_error check_config(const el_config *config) {
    uint16_t in = config->frame_in_size, out = config->frame_out_size;
    if (config->frame_in == NULL || config->frame_out == NULL || in < EL_FRAME_MIN || out < EL_FRAME_MIN ||
        in > EL_FRAME_MAX || out > EL_FRAME_MAX)
        return EL_BAD_FRAMES;
    if (config->ring_size < EL_KEPT_HEAD + EL_FRAME_MIN || ((uint32_t)config->ring_size >> 31) != 0 ||
        (config->ring == NULL && (config->ring_read == NULL || config->ring_write == NULL)))
        return EL_BAD_RING;
    if (config->uid == NULL || config->uid_size == 0 || config->uid_size > 16 || config->firmware == NULL ||
        config->uid_size + strlen(config->firmware) > EL_FRAME_MIN - (config->window > WINDOW_ANY ? 32u : 31u))
        return EL_BAD_UID;
    if (config->now_ms == NULL || config->write == NULL || (config->result_size != 0 && config->result == NULL))
        return EL_BAD_CALLBACKS;
    return EL_OK;
}

el_error el_start(el_board *board, const el_config *config) {
    el_error error = check_config(config);
    memset(board, 0, sizeof *board);
    board->config = config;
    if (error == EL_OK) error = check_schema(board);
    if (error != EL_OK) return error;
    board->window = config->window == 0 ? 4u : config->window;
    if (board->window > EL_WINDOW_MAX) board->window = EL_WINDOW_MAX;
#if EL_WINDOW_MAX > 8
    board->window_max = board->window;
    board->window = window_any(board);
#endif
    board->host_frame_max = EL_FRAME_MIN;
    board->capacity = (EL_OFFSET)(config->ring_size - kept_head(board));
    board->heard_ms = now_ms(board);
    board->boot = config->boot != 0 ? config->boot : (uint16_t)(crc_number(config->random, now_ms(board)) & 0xFFFFu);
    forget_window(board);
    if (!config->ring_kept || !ring_recover(board)) ring_begin(board);
    board->out_size = 0;
    board->due = DUE_HELLO;
    return EL_OK;
}

void el_receive(el_board *board, const uint8_t *bytes, size_t size) {
    while (size-- != 0) take_byte(board, *bytes++);
}

bool el_poll(el_board *board) {
    if (!board->welcomed && now_ms(board) - board->hello_ms >= HELLO_EVERY_MS) board->due |= DUE_HELLO;
    for (;;) {
        if (!flush(board)) return true;
#if EL_IMAGES
        if (image_work(board)) return true;
#endif
        if (!say_due(board) && !say_readings(board)) return false;
    }
}

static void append(el_board *board, const uint8_t *bytes, uint16_t size) {
    uint16_t head = entry_head(board), whole = (uint16_t)(board->open_size + size);
    EL_OFFSET left = (EL_OFFSET)(board->capacity - board->used);
    if (!board->open_good || whole > payload_room(board) - DATA_FRAME || left < whole || left - whole < head) {
        board->open_good = false;
        return;
    }
    if (board->config->ring_kept) board->open_crc = el_crc32(board->open_crc, bytes, size);
    ring_write(board, after(board, board->next_at, (uint16_t)(head + board->open_size)), bytes, size);
    board->open_size = whole;
}

void el_begin(el_board *board) {
    uint8_t stamp[STAMP_SIZE];
    store32(stamp, now_ms(board));
    board->open_size = 0;
    board->open_good = true;
    if (board->config->ring_kept) board->open_crc = entry_crc(board, board->next);
    append(board, stamp, STAMP_SIZE);
}

bool el_commit(el_board *board) {
    uint8_t head[6];
    bool good = board->open_good && board->open_size > STAMP_SIZE;
    if (good) {
        store16(head, board->open_size);
        store32(head + 2, el_crc32(board->open_crc, head, 2));
        ring_write(board, board->next_at, head, entry_head(board));
        uint16_t whole = (uint16_t)(board->open_size + entry_head(board));
        board->next_at = after(board, board->next_at, whole);
        board->used = (EL_OFFSET)(board->used + whole);
        board->next++;
    } else {
        count(&board->counts.refused);
    }
    board->open_size = 0;
    board->open_good = false;
    return good;
}

#define KIND(kind) (1u << (kind))
#define SIGNED_KINDS (KIND(EL_I8) | KIND(EL_I16) | KIND(EL_I32) | KIND(EL_I64))
#define WHOLE_KINDS (SIGNED_KINDS | KIND(EL_BOOL) | KIND(EL_U8) | KIND(EL_U16) | KIND(EL_U32) | KIND(EL_U64))

/* The kind of a channel as a bit, 0 if there is no such channel. */
static uint16_t kind_of(const el_board *board, uint8_t channel) {
    const el_config *config = board->config;
    for (uint8_t i = 0; i < config->channel_count; i++)
        if (config->channels[i].channel == channel) return (uint16_t)KIND(config->channels[i].kind);
    return 0;
}

static uint8_t width_of(uint16_t kind) {
    if ((kind & (KIND(EL_BOOL) | KIND(EL_U8) | KIND(EL_I8))) != 0) return 1;
    if ((kind & (KIND(EL_U16) | KIND(EL_I16))) != 0) return 2;
    return (kind & (KIND(EL_U64) | KIND(EL_I64) | KIND(EL_F64))) != 0 ? 8u : 4u;
}

static void put_value(el_board *board, uint8_t channel, uint16_t kinds, const uint8_t *value) {
    uint16_t kind = kind_of(board, channel);
    if ((kind & kinds) == 0) {
        board->open_good = false;
        return;
    }
    append(board, &channel, 1);
    append(board, value, width_of(kind));
}

/* A number of 64 bits, little-endian; sign is 0xFF for a negative one, which only a signed kind can hold. */
static void put_whole(el_board *board, uint8_t channel, const uint8_t *value, uint8_t sign) {
    uint16_t kind = kind_of(board, channel);
    uint8_t width = width_of(kind);
    bool fits = (kind & SIGNED_KINDS) != 0 ? ((value[width - 1] ^ sign) & 0x80u) == 0 : sign == 0;
    if (kind == KIND(EL_BOOL) && value[0] > 1) fits = false;
    for (uint8_t i = width; i < 8; i++)
        if (value[i] != sign) fits = false;
    if (fits) put_value(board, channel, WHOLE_KINDS, value);
    else board->open_good = false;
}

static void put_whole32(el_board *board, uint8_t channel, uint32_t value, uint8_t sign) {
    uint8_t bytes[8];
    memset(bytes, sign, 8);
    store32(bytes, value);
    put_whole(board, channel, bytes, sign);
}

static void put_whole64(el_board *board, uint8_t channel, uint64_t value, uint8_t sign) {
    uint8_t bytes[8];
    store32(bytes, (uint32_t)(value & 0xFFFFFFFFUL));
    store32(bytes + 4, (uint32_t)(value >> 32));
    put_whole(board, channel, bytes, sign);
}

void el_put_int(el_board *board, uint8_t channel, int32_t value) {
    put_whole32(board, channel, (uint32_t)value, value < 0 ? 0xFFu : 0u);
}

void el_put_uint(el_board *board, uint8_t channel, uint32_t value) { put_whole32(board, channel, value, 0); }

void el_put_i64(el_board *board, uint8_t channel, int64_t value) {
    put_whole64(board, channel, (uint64_t)value, value < 0 ? 0xFFu : 0u);
}

void el_put_u64(el_board *board, uint8_t channel, uint64_t value) { put_whole64(board, channel, value, 0); }

void el_put_float(el_board *board, uint8_t channel, float value) {
    uint32_t bits;
    uint8_t bytes[4];
    memcpy(&bits, &value, sizeof bits);
    store32(bytes, bits);
    put_value(board, channel, KIND(EL_F32), bytes);
}

#if DBL_MANT_DIG == 53
void el_put_double(el_board *board, uint8_t channel, double value) {
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, &value, sizeof bits);
    store32(bytes, (uint32_t)(bits & 0xFFFFFFFFUL));
    store32(bytes + 4, (uint32_t)(bits >> 32));
    put_value(board, channel, KIND(EL_F64), bytes);
}
#endif

void el_put_bytes(el_board *board, uint8_t channel, const void *bytes, uint8_t size) {
    uint8_t head[2];
    head[0] = channel;
    head[1] = size;
    if ((kind_of(board, channel) & (KIND(EL_BYTES) | KIND(EL_TEXT))) == 0) board->open_good = false;
    append(board, head, 2);
    append(board, bytes, size);
}

uint32_t el_waiting(const el_board *board) { return board->next - board->first; }

bool el_log(el_board *board, uint8_t level, const char *text) {
    size_t room = payload_room(board) - 10u, size = strlen(text); /* head, level, board_ms, crc32 */
    if (!flush(board)) return false;
    if (size > room) {
        size = room;
        while (size != 0 && ((uint8_t)text[size] & 0xC0u) == 0x80u) size--; /* not within a character */
    }
    frame_begin(board, LOG);
    put8(board, level);
    put32(board, now_ms(board));
    put_all(board, text, (uint16_t)size);
    frame_end(board);
    flush(board);
    return true;
}

bool el_idle(const el_board *board) { return board->out_stage == STAGE_IDLE; }

uint32_t el_silence_ms(const el_board *board) { return now_ms(board) - board->heard_ms; }

bool el_unix_ms(const el_board *board, uint64_t *unix_ms) {
    uint32_t since = now_ms(board) - board->wall_board_ms;
    if (!board->wall_known) return false;
    uint64_t then = load32(board->wall_unix_ms) | ((uint64_t)load32(board->wall_unix_ms + 4) << 32);
    *unix_ms = since < 0x80000000UL ? then + since : then - (uint32_t)(0 - since);
    return true;
}

bool el_is(const el_command *command, const char *name) {
    return strlen(name) == command->name_size && memcmp(command->name, name, command->name_size) == 0;
}

void el_finish(el_board *board, uint8_t status, const void *result, uint16_t size) {
    uint16_t room = result_room(board);
    if (!board->command_known || board->command_status != EL_STILL_AT_IT) return;
    board->result_size = size < room ? size : room;
    if (board->result_size != 0) memmove(board->config->result, result, board->result_size);
    board->command_status = status;
    board->reply_session = board->command_session;
    board->reply_id = board->command_id;
    board->due |= DUE_REPLY;
}
