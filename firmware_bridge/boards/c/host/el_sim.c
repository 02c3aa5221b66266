/* el_sim: a board of edgelink.c on this machine, its whole memory on the heap so that a sanitizer sees every step out of it.
 *
 * Without --live it does what lines on standard input say and prints what came of it, each answer ended by a line "ok".
 * Nothing happens by itself, the clock included:
 *
 *     now MS          the board's clock               put CH KIND VALUE ...   one frame of readings: "kept 0" or "kept 1"
 *     in HEX          bytes from the line             log LEVEL TEXT          "said 0" or "said 1"
 *     poll            "out HEX"                       finish STATUS HEX       the end of the command "later"
 *     room N          the line takes so many bytes    restart RANDOM          el_start again, a kept ring stays
 *     lose N          power for N bytes more of ring  damage AT XOR           a byte of the ring changes
 *     state           one line of numbers             unix                    the time that the host told
 *
 * With --live it is a board with a clock and a sensor, on standard input and output or on a pseudo-terminal; there it
 * takes images as well, and comes back with their version, or, if that begins with "bad", with the one that it had. A
 * frame has a reading of each channel. --every 0 measures whenever the ring has room; --rate N is a line that carries N
 * bytes a second. */
#define _GNU_SOURCE
#include "../src/edgelink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OUT_MAX 65536u
#define LINE_BUFFER 4096u /* what the line has not taken yet */
#define LINE_MAX_BYTES 20000
#define CHANNELS_MAX 16

static struct {
    el_board board;
    el_config config;
    el_channel channels[CHANNELS_MAX];
    uint8_t uid[16], result[64];
    uint8_t *memory; /* of a ring behind callbacks */
    uint32_t now;
    uint8_t out[OUT_MAX];
    size_t out_size, room;
    long power; /* bytes that the ring still takes; negative: any number */
    el_images images;
    uint8_t *image;
    char version[256]; /* of the image under way */
    bool image_runs;   /* live: start it */
    bool live;
    int line;
    long rate; /* bytes a second that the line carries; 0: any number */
    double carried_at;
} sim;

static void fail(const char *what) {
    fprintf(stderr, "el_sim: %s\n", what);
    exit(2);
}

static uint8_t nibble(char c) {
    const char *digits = "0123456789abcdef", *at = c == 0 ? NULL : strchr(digits, c);
    if (at == NULL) fail("not hexadecimal");
    return (uint8_t)(at - digits);
}

static size_t from_hex(const char *text, uint8_t *into, size_t room) {
    size_t size = strlen(text) / 2;
    if (size > room) fail("too many bytes");
    for (size_t i = 0; i < size; i++) into[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return size;
}

static void print_hex(const void *bytes, size_t size) {
    const uint8_t *from = bytes;
    for (size_t i = 0; i < size; i++) printf("%02x", from[i]);
}

static uint32_t sim_now(void *user) {
    struct timespec now;
    (void)user;
    if (!sim.live) return sim.now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* How much of count a line of this rate takes now: what it would have carried since, but no more than 4 ms of it. */
static uint16_t line_room(uint16_t count) {
    if (sim.rate == 0) return count;
    double now = seconds(), rate = (double)sim.rate;
    if (now - sim.carried_at > 0.004) sim.carried_at = now - 0.004;
    double room = (now - sim.carried_at) * rate;
    if (room < count) count = (uint16_t)room;
    sim.carried_at += count / rate;
    return count;
}

/* What a UART sends while the program goes on. */
static void line_flush(void) {
    if (sim.out_size == 0) return;
    ssize_t taken = write(sim.line, sim.out, sim.out_size);
    if (taken <= 0) return;
    sim.out_size -= (size_t)taken;
    memmove(sim.out, sim.out + taken, sim.out_size);
}

static uint16_t sim_write(void *user, const uint8_t *bytes, uint16_t count) {
    (void)user;
    if (sim.live) {
        if (sim.out_size + count > LINE_BUFFER) line_flush();
        if (sim.out_size + count > LINE_BUFFER) return 0;
        count = line_room(count);
        memcpy(sim.out + sim.out_size, bytes, count);
        sim.out_size += count;
        return count;
    }
    if (count > sim.room) count = (uint16_t)sim.room;
    if (count > OUT_MAX - sim.out_size) fail("too much output at once");
    memcpy(sim.out + sim.out_size, bytes, count);
    sim.out_size += count;
    sim.room -= count;
    return count;
}

static void sim_ring_read(void *user, EL_OFFSET at, uint8_t *into, uint16_t count) {
    (void)user;
    memcpy(into, sim.memory + at, count);
}

static void sim_ring_write(void *user, EL_OFFSET at, const uint8_t *from, uint16_t count) {
    (void)user;
    for (uint16_t i = 0; i < count && sim.power != 0; i++) {
        sim.memory[at + i] = from[i];
        if (sim.power > 0) sim.power--;
    }
}

static uint8_t sim_command(void *user, el_command *command) {
    (void)user;
    if (!sim.live) {
        printf("command %.*s ", (int)command->name_size, command->name);
        print_hex(command->argument, command->argument_size);
        printf("\n");
    }
    if (el_is(command, "echo")) {
        if (command->argument_size > command->result_size) {
            command->result_size = 0;
            return EL_ARGUMENT_REFUSED;
        }
        memcpy(command->result, command->argument, command->argument_size);
        command->result_size = command->argument_size;
        return EL_DONE;
    }
    command->result_size = 0;
    if (el_is(command, "later")) return EL_STILL_AT_IT;
    if (!el_is(command, "fail")) return EL_NO_SUCH_COMMAND;
    command->result_size = 3;
    memcpy(command->result, "why", 3);
    return EL_FAILED;
}

static uint8_t image_begin(void *user, uint32_t image, uint32_t size, const char *version, uint8_t n, uint32_t *offset) {
    (void)user;
    (void)image;
    printf("image %.*s\n", (int)n, version);
    memcpy(sim.version, version, n);
    sim.version[n] = 0;
    if (size > 100000u) return EL_IMAGE_NO_ROOM;
    free(sim.image);
    sim.image = malloc(size);
    *offset = 0;
    return EL_IMAGE_RECEIVING;
}

static bool image_write(void *user, uint32_t offset, const uint8_t *bytes, uint16_t count) {
    (void)user;
    memcpy(sim.image + offset, bytes, count);
    return true;
}

static void image_read(void *user, uint32_t offset, uint8_t *into, uint16_t count) {
    (void)user;
    memcpy(into, sim.image + offset, count);
}

static void image_restart(void *user, uint32_t image) {
    (void)user;
    printf("restart %lu\n", (unsigned long)image);
    sim.image_runs = sim.live;
}

static void start(void) {
    el_error error = el_start(&sim.board, &sim.config);
    if (error != EL_OK) {
        fprintf(stderr, "el_sim: el_start says %d\n", (int)error);
        exit(3);
    }
}

static void put_reading(uint8_t channel, const char *kind, const char *value) {
    uint8_t bytes[255];
    if (strcmp(kind, "int") == 0) el_put_int(&sim.board, channel, (int32_t)strtol(value, NULL, 10));
    else if (strcmp(kind, "uint") == 0) el_put_uint(&sim.board, channel, (uint32_t)strtoul(value, NULL, 10));
    else if (strcmp(kind, "i64") == 0) el_put_i64(&sim.board, channel, strtoll(value, NULL, 10));
    else if (strcmp(kind, "u64") == 0) el_put_u64(&sim.board, channel, strtoull(value, NULL, 10));
    else if (strcmp(kind, "float") == 0) el_put_float(&sim.board, channel, strtof(value, NULL));
    else if (strcmp(kind, "double") == 0) el_put_double(&sim.board, channel, strtod(value, NULL));
    else if (strcmp(kind, "bytes") == 0) {
        size_t size = strcmp(value, "-") == 0 ? 0 : from_hex(value, bytes, sizeof bytes);
        el_put_bytes(&sim.board, channel, bytes, (uint8_t)size);
    } else fail("no such kind");
}

static const char *word(void) {
    const char *found = strtok(NULL, " ");
    if (found == NULL) fail("a word is missing");
    return found;
}

static unsigned long number(void) { return strtoul(word(), NULL, 0); }

static void put_line(void) {
    const char *channel = strtok(NULL, " ");
    el_begin(&sim.board);
    for (; channel != NULL; channel = strtok(NULL, " ")) {
        const char *kind = word(), *value = word();
        put_reading((uint8_t)strtoul(channel, NULL, 10), kind, value);
    }
    printf("kept %d\n", el_commit(&sim.board));
}

static void print_state(void) {
    const el_board *b = &sim.board;
    const el_counts *c = &b->counts;
    printf("state waiting=%lu first=%lu next=%lu welcomed=%d idle=%d epoch=%lu silence=%lu frames=%u noise=%u foreign=%u "
           "repeated=%u refused=%u renewed=%u\n",
           (unsigned long)el_waiting(b), (unsigned long)b->first, (unsigned long)b->next, b->welcomed, el_idle(b),
           (unsigned long)b->epoch, (unsigned long)el_silence_ms(b), c->frames, c->noise, c->foreign, c->repeated,
           c->refused, c->renewed);
}

static void poll_once(void) {
    el_poll(&sim.board);
    printf("out ");
    print_hex(sim.out, sim.out_size);
    printf("\n");
    sim.out_size = 0;
}

static void take_line(char *line) {
    static uint8_t bytes[LINE_MAX_BYTES / 2];
    const char *verb = strtok(line, " ");
    if (verb == NULL) fail("an empty line");
    if (strcmp(verb, "now") == 0) sim.now = (uint32_t)number();
    else if (strcmp(verb, "in") == 0) {
        size_t size = from_hex(word(), bytes, sizeof bytes);
        uint8_t *exact = malloc(size);
        memcpy(exact, bytes, size);
        el_receive(&sim.board, exact, size);
        free(exact);
    } else if (strcmp(verb, "poll") == 0) poll_once();
    else if (strcmp(verb, "room") == 0) sim.room = number();
    else if (strcmp(verb, "lose") == 0) sim.power = (long)number();
    else if (strcmp(verb, "put") == 0) put_line();
    else if (strcmp(verb, "log") == 0) {
        uint8_t level = (uint8_t)number();
        const char *text = strtok(NULL, "");
        printf("said %d\n", el_log(&sim.board, level, text == NULL ? "" : text));
    } else if (strcmp(verb, "finish") == 0) {
        uint8_t status = (uint8_t)number();
        el_finish(&sim.board, status, bytes, (uint16_t)from_hex(word(), bytes, sizeof bytes));
    } else if (strcmp(verb, "restart") == 0) {
        sim.config.random = (uint32_t)number();
        sim.config.boot = (uint16_t)(sim.config.boot + 1u);
        sim.power = -1;
        sim.out_size = 0;
        if (sim.config.ring != NULL) memset(sim.config.ring, 0xA5, sim.config.ring_size);
        memset(&sim.images.image, 0, sizeof sim.images - offsetof(el_images, image));
        start();
    } else if (strcmp(verb, "damage") == 0) {
        unsigned long at = number();
        uint8_t *memory = sim.memory != NULL ? sim.memory : sim.config.ring;
        if (at >= sim.config.ring_size) fail("outside of the ring");
        memory[at] ^= (uint8_t)number();
    } else if (strcmp(verb, "state") == 0) print_state();
    else if (strcmp(verb, "unix") == 0) {
        uint64_t unix_ms = 0;
        bool known = el_unix_ms(&sim.board, &unix_ms);
        printf("unix %d %llu\n", known, (unsigned long long)unix_ms);
    } else fail("no such verb");
}

static void obey(void) {
    static char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        take_line(line);
        printf("ok\n");
        fflush(stdout);
    }
}

static int open_pty(const char *link) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios raw;
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) fail("no pseudo-terminal");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* stays open: else reads fail until a host comes */
    if (slave < 0 || tcgetattr(slave, &raw) != 0) fail("no pseudo-terminal");
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    unlink(link);
    if (symlink(ptsname(master), link) != 0) fail("cannot make the link");
    return master;
}

static bool measure(long made) {
    el_begin(&sim.board);
    for (uint8_t i = 0; i < sim.config.channel_count; i++) el_put_uint(&sim.board, sim.channels[i].channel, (uint32_t)made);
    return el_commit(&sim.board);
}

/* What a bootloader does: the new image, or the former one if the new one is "bad...". */
static void run_image(void) {
    static char running[256];
    sim.image_runs = false;
    if (strncmp(sim.version, "bad", 3) != 0) {
        memcpy(running, sim.version, sizeof running);
        sim.config.firmware = running;
    }
    sim.config.boot = (uint16_t)(sim.config.boot + 1u);
    sim.config.reason = 5;
    memset(&sim.images.image, 0, sizeof sim.images - offsetof(el_images, image));
    start();
}

/* count 0: for ever. Ends when standard input does, or when count frames were made and are durable. */
static void live(int every_ms, long count) {
    uint8_t bytes[512];
    uint32_t last = sim_now(NULL);
    long made = 0;
    for (;;) {
        bool busy = el_poll(&sim.board);
        line_flush();
        if (sim.out_size != 0) busy = true;
        if (sim.image_runs) run_image();
        if (every_ms == 0) {
            while ((count == 0 || made < count) && measure(made)) made++;
        } else if ((count == 0 || made < count) && sim_now(NULL) - last >= (uint32_t)every_ms) {
            last += (uint32_t)every_ms;
            if (measure(made)) made++;
        }
        if (count != 0 && made == count && el_waiting(&sim.board) == 0) return;
        struct pollfd polled = {sim.line == STDOUT_FILENO ? STDIN_FILENO : sim.line, POLLIN, 0};
        if (poll(&polled, 1, busy ? 1 : 10) <= 0) continue;
        ssize_t got = read(polled.fd, bytes, sizeof bytes);
        if (got == 0) return;
        if (got > 0) el_receive(&sim.board, bytes, (size_t)got);
    }
}

/* CH,KIND,EXPONENT,NAME,UNIT */
static void add_channel(char *text) {
    if (sim.config.channel_count == CHANNELS_MAX) fail("too many channels");
    el_channel *channel = &sim.channels[sim.config.channel_count++];
    char *part[5];
    for (int i = 0; i < 5; i++) {
        part[i] = text;
        text += strcspn(text, ",");
        if (*text == ',') *text++ = 0;
    }
    channel->channel = (uint8_t)strtoul(part[0], NULL, 10);
    channel->kind = (uint8_t)strtoul(part[1], NULL, 10);
    channel->exponent = (int8_t)strtol(part[2], NULL, 10);
    channel->name = part[3];
    channel->unit = part[4];
}

static uint8_t *ring_file(const char *path, size_t size) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) fail("cannot open the ring's file");
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) fail("cannot map the ring's file");
    return mapped;
}

int main(int argc, char **argv) {
    el_config *config = &sim.config;
    const char *pty = NULL, *file = NULL;
    int every_ms = 1000;
    long frames = 0;
    sim.room = (size_t)-1;
    sim.power = -1;
    sim.line = STDOUT_FILENO;
    config->uid = sim.uid;
    config->uid_size = 1;
    config->firmware = "el_sim";
    config->ring_size = 1024;
    config->frame_in_size = config->frame_out_size = EL_FRAME_MIN;
    config->boot = 1;
    config->random = 1;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--kept") == 0) config->ring_kept = true;
        else if (strcmp(name, "--live") == 0) sim.live = true;
        else if (i + 1 == argc) fail("--name VALUE; see el_sim.c");
        else if (strcmp(name, "--uid") == 0) config->uid_size = (uint8_t)from_hex(argv[++i], sim.uid, sizeof sim.uid);
        else if (strcmp(name, "--random") == 0) config->random = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--boot") == 0) config->boot = (uint16_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--reason") == 0) config->reason = (uint8_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--ring") == 0) config->ring_size = (EL_OFFSET)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--ring-file") == 0) file = argv[++i];
        else if (strcmp(name, "--frame-in") == 0) config->frame_in_size = (uint16_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--frame-out") == 0) config->frame_out_size = (uint16_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--window") == 0) config->window = (uint8_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--retry") == 0) config->retry_ms = (uint16_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(name, "--firmware") == 0) config->firmware = argv[++i];
        else if (strcmp(name, "--channel") == 0) add_channel(argv[++i]);
        else if (strcmp(name, "--pty") == 0) pty = argv[++i];
        else if (strcmp(name, "--every") == 0) every_ms = (int)strtol(argv[++i], NULL, 0);
        else if (strcmp(name, "--rate") == 0) sim.rate = strtol(argv[++i], NULL, 0);
        else if (strcmp(name, "--frames") == 0) frames = strtol(argv[++i], NULL, 0);
        else fail("no such option; see el_sim.c");
    }
    if (config->channel_count == 0) {
        static char plain[] = "0,5,0,count,1";
        add_channel(plain);
    }
    config->now_ms = sim_now;
    config->write = sim_write;
    config->command = sim_command;
    config->result = sim.result;
    config->result_size = sizeof sim.result;
    config->channels = sim.channels;
    config->caps = EL_CAP_WALL_TIME;
    config->frame_in = malloc(config->frame_in_size);
    config->frame_out = malloc(config->frame_out_size);
    if (file != NULL) config->ring_kept = true;
    if (config->ring_kept) {
        sim.memory = file != NULL ? ring_file(file, config->ring_size) : malloc(config->ring_size);
        if (file == NULL) memset(sim.memory, 0xA5, config->ring_size);
        config->ring_read = sim_ring_read;
        config->ring_write = sim_ring_write;
    } else {
        config->ring = malloc(config->ring_size);
    }
    if (sim.live && pty != NULL) sim.line = open_pty(pty);
    if (!sim.live || pty != NULL) { /* else standard output is the line */
        sim.images.begin = image_begin;
        sim.images.write = image_write;
        sim.images.read = image_read;
        sim.images.restart = image_restart;
        config->images = &sim.images;
    }
    if (sim.live) fcntl(sim.line, F_SETFL, fcntl(sim.line, F_GETFL) | O_NONBLOCK);
    start();
    if (sim.live) live(every_ms, frames);
    else obey();
    return 0;
}
