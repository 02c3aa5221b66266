/* el_fuzz SEED COUNT: boards of edgelink.c under random bytes, frames nearly right, full lines, damage to the ring and
 * resets. Meant to be compiled with sanitizers; what the memory does not tell is asserted here. A seed and a number always
 * make the same input. Prints how much of it was good. */
#include "../src/edgelink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state;

static uint32_t random_below(uint32_t bound) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return bound == 0 ? 0 : state % bound;
}

static struct {
    el_board board;
    el_config config;
    el_images images;
    uint8_t *ring, image[512];
    uint32_t now, room, image_size, said; /* said: checksum of all that went out, the same on every machine */
    unsigned long frames, commands, readings, chunks, restarts, acks;
} fuzz;

static void check(int right, const char *what) {
    if (right) return;
    fprintf(stderr, "el_fuzz: %s\n", what);
    abort();
}

static uint32_t now_ms(void *user) {
    (void)user;
    return fuzz.now;
}

static uint16_t write_line(void *user, const uint8_t *bytes, uint16_t count) {
    (void)user;
    check(count != 0, "nothing was written");
    if (count > fuzz.room) count = (uint16_t)fuzz.room;
    fuzz.said = el_crc32(fuzz.said, bytes, count);
    fuzz.room -= count;
    return count;
}

static void ring_read(void *user, EL_OFFSET at, uint8_t *into, uint16_t count) {
    (void)user;
    memcpy(into, fuzz.ring + at, count);
}

static void ring_write(void *user, EL_OFFSET at, const uint8_t *from, uint16_t count) {
    (void)user;
    memcpy(fuzz.ring + at, from, count);
}

static uint8_t command(void *user, el_command *asked) {
    volatile uint8_t seen = 0;
    (void)user;
    for (uint16_t i = 0; i < asked->argument_size; i++) seen ^= asked->argument[i];
    for (uint8_t i = 0; i < asked->name_size; i++) seen ^= (uint8_t)asked->name[i];
    memset(asked->result, 0xEE, asked->result_size);
    asked->result_size = (uint16_t)random_below(200);
    fuzz.commands++;
    return (uint8_t)random_below(5);
}

static uint8_t image_begin(void *user, uint32_t image, uint32_t size, const char *version, uint8_t n, uint32_t *offset) {
    volatile char seen = 0;
    (void)user;
    (void)image;
    for (uint8_t i = 0; i < n; i++) seen = version[i];
    (void)seen;
    fuzz.image_size = size;
    *offset = random_below(4) == 0 ? random_below(600) : 0;
    return size > sizeof fuzz.image ? EL_IMAGE_NO_ROOM : EL_IMAGE_RECEIVING;
}

static bool image_write(void *user, uint32_t offset, const uint8_t *bytes, uint16_t count) {
    (void)user;
    check(count <= fuzz.image_size && offset <= fuzz.image_size - count, "an image is written outside of its size");
    memcpy(fuzz.image + offset, bytes, count);
    fuzz.chunks++;
    return random_below(50) != 0;
}

static void image_read(void *user, uint32_t offset, uint8_t *into, uint16_t count) {
    (void)user;
    check(count <= fuzz.image_size && offset <= fuzz.image_size - count, "an image is read outside of its size");
    memcpy(into, fuzz.image + offset, count);
}

static void image_restart(void *user, uint32_t image) {
    (void)user;
    (void)image;
    fuzz.restarts++;
}

static size_t stuffed(const uint8_t *body, size_t size, uint8_t *into) {
    size_t out = 1, code_at = 0;
    uint8_t code = 1;
    for (size_t i = 0; i < size; i++) {
        if (code == 255 || body[i] == 0) {
            into[code_at] = code;
            code_at = out++;
            code = 1;
            if (body[i] == 0) continue;
        }
        into[out++] = body[i];
        code++;
    }
    into[code_at] = code;
    return out;
}

static void number(uint8_t *to, uint32_t value, int size) {
    for (int i = 0; i < size; i++) to[i] = (uint8_t)(value >> (8 * i));
}

/* A payload that is likely to be taken: right tag, session and numbers more often than not. */
static size_t payload(uint8_t type, uint8_t *p) {
    const el_board *board = &fuzz.board;
    size_t size = random_below(90);
    for (size_t i = 0; i < size + 60; i++) p[i] = (uint8_t)random_below(256);
    uint16_t tag = (uint16_t)(((board->epoch ^ board->epoch >> 16) & 0xFFFF) ^ board->boot);
    if (random_below(8) == 0) return size;
    switch (type) {
    case 2:
        number(p, random_below(3), 4);
        number(p + 4, tag, 2);
        number(p + 6, board->first + random_below(12) - 2, 4);
        number(p + 10, 32 + random_below(300), 2);
        return 12 + random_below(3);
    case 3: number(p, random_below(3), 4); return 4 + random_below(3);
    case 4: p[0] = (uint8_t)random_below(5); return 1 + random_below(2);
    case 7:
        number(p, tag, 2);
        number(p + 2, board->first + random_below(9), 2);
        fuzz.acks++;
        return 5;
    case 8:
        number(p, board->session, 4);
        number(p + 4, random_below(4), 2);
        p[8] = (uint8_t)random_below(12);
        return 9 + random_below(50);
    case 13: {
        uint8_t op = (uint8_t)random_below(4);
        p[0] = op;
        number(p + 1, random_below(2), 4);
        number(p + 5, op == 0 ? random_below(600) : fuzz.images.offset, 4);
        if (op == 0) p[41] = (uint8_t)random_below(12);
        return op == 0 ? 42 + random_below(12) : op == 1 ? 9 + random_below(60) : 5;
    }
    default: return size;
    }
}

static void feed(const uint8_t *bytes, size_t size) {
    while (size != 0) { /* pieces on the heap, so that a step too far is seen */
        size_t part = 1u + (size_t)random_below((uint32_t)size);
        uint8_t *exact = malloc(part);
        memcpy(exact, bytes, part);
        el_receive(&fuzz.board, exact, part);
        free(exact);
        bytes += part;
        size -= part;
    }
}

static void flip(uint8_t *bytes, uint32_t size) {
    uint32_t at = random_below(size);
    bytes[at] ^= (uint8_t)(1u << random_below(8));
}

static void say(void) {
    static const uint8_t types[] = {2, 2, 3, 4, 7, 7, 7, 8, 8, 10, 13, 13, 13, 15};
    uint8_t body[400], wire[520];
    uint8_t type = random_below(12) == 0 ? (uint8_t)random_below(16) : types[random_below(sizeof types)];
    body[0] = (uint8_t)((random_below(40) == 0 ? 0x20 : 0x10) | type);
    size_t size = 1 + payload(type, body + 1);
    number(body + size, el_crc32(0, body, (uint16_t)size), 4);
    size = stuffed(body, size + 4, wire + 1) + 1;
    wire[0] = wire[size++] = 0;
    if (random_below(10) == 0) flip(wire, (uint32_t)size);
    if (random_below(20) == 0) size = random_below((uint32_t)size);
    feed(wire, size);
}

static void noise(void) {
    uint8_t bytes[300];
    size_t size = random_below(sizeof bytes);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(random_below(6) == 0 ? 0 : random_below(256));
    feed(bytes, size);
}

static void put(void) {
    static const uint8_t blob[40] = {1, 2, 3};
    el_begin(&fuzz.board);
    for (uint32_t i = random_below(4); i != 0; i--) {
        uint8_t channel = (uint8_t)random_below(5);
        if (channel == 3) el_put_bytes(&fuzz.board, 3, blob, (uint8_t)random_below(sizeof blob));
        else if (channel == 1) el_put_int(&fuzz.board, 1, (int32_t)random_below(300) - 150L);
        else if (channel == 2) el_put_float(&fuzz.board, 2, 1.5f);
        else el_put_u64(&fuzz.board, channel, random_below(10));
        if (random_below(30) == 0) say();
    }
    fuzz.readings += el_commit(&fuzz.board);
}

static void start(void) {
    fuzz.config.random = state;
    check(el_start(&fuzz.board, &fuzz.config) == EL_OK, "el_start refuses");
}

/* One input: a board of random sizes and some hundred things that happen to it. */
static void one(uint32_t seed) {
    static const el_channel channels[] = {{0, EL_U64, 0, "a", ""}, {1, EL_I8, -1, "b", "Cel"}, {2, EL_F32, 0, "c", ""}, {3, EL_BYTES, 0, "d", ""}};
    static const uint8_t uid[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    el_config *c = &fuzz.config;
    state = (uint32_t)(seed * 2654435761UL + 1u);
    random_below(1);
    memset(c, 0, sizeof *c);
    memset(&fuzz.images, 0, sizeof fuzz.images);
    fuzz.images.begin = image_begin;
    fuzz.images.write = image_write;
    fuzz.images.read = image_read;
    fuzz.images.restart = image_restart;
    c->now_ms = now_ms;
    c->write = write_line;
    c->command = command;
    c->images = &fuzz.images;
    c->uid = uid;
    c->uid_size = sizeof uid;
    c->firmware = "fuzz";
    c->channels = channels;
    c->channel_count = 4;
    c->window = (uint8_t)random_below(EL_WINDOW_MAX + 1u);
    c->ring_size = (EL_OFFSET)(EL_KEPT_HEAD + EL_FRAME_MIN + random_below(500));
    c->ring_kept = random_below(2) != 0;
    c->frame_in_size = (uint16_t)(EL_FRAME_MIN + random_below(300));
    c->frame_out_size = (uint16_t)(EL_FRAME_MIN + random_below(100));
    c->result_size = (uint16_t)random_below(100);
    fuzz.ring = malloc(c->ring_size);
    for (uint32_t i = 0; i < c->ring_size; i++) fuzz.ring[i] = (uint8_t)random_below(256);
    c->frame_in = malloc(c->frame_in_size);
    c->frame_out = malloc(c->frame_out_size);
    c->result = malloc(c->result_size);
    if (c->ring_kept) {
        c->ring_read = ring_read;
        c->ring_write = ring_write;
    } else {
        c->ring = fuzz.ring;
    }
    start();
    for (int steps = 0; steps < 150; steps++) {
        uint32_t what = random_below(100);
        fuzz.now += random_below(400);
        fuzz.room = random_below(5) == 0 ? random_below(30) : 1000;
        if (what < 50) say();
        else if (what < 75) put();
        else if (what < 80) noise();
        else if (what < 82) flip(fuzz.ring, c->ring_size);
        else if (what < 83) start();
        else if (what < 85) el_finish(&fuzz.board, 0, "done", 4);
        else if (what < 87) el_log(&fuzz.board, 1, "some text \xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4 and more of it than there may be room for on the line");
        el_poll(&fuzz.board);
        check(fuzz.board.used <= fuzz.board.capacity, "more is used than there is");
        check(fuzz.board.next - fuzz.board.first <= fuzz.board.used / 7u * 8u, "more frames than the ring can hold");
        check((fuzz.board.next == fuzz.board.first) == (fuzz.board.used == 0), "bytes are used by no frame");
    }
    fuzz.frames += fuzz.board.counts.frames;
    free(fuzz.ring);
    free(c->frame_in);
    free(c->frame_out);
    free(c->result);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    uint32_t seed = (uint32_t)strtoul(argv[1], NULL, 0), count = (uint32_t)strtoul(argv[2], NULL, 0);
    for (uint32_t i = 0; i < count; i++) one(seed + i);
    printf("frames=%lu commands=%lu readings=%lu chunks=%lu restarts=%lu acks=%lu said=%lu\n", fuzz.frames, fuzz.commands,
           fuzz.readings, fuzz.chunks, fuzz.restarts, fuzz.acks, (unsigned long)fuzz.said);
    return 0;
}
