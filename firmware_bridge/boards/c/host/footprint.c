/* A small program on a board, for measuring: -DEMPTY is the same without EdgeLink, so the difference is what it costs. */
#include "../src/edgelink.h"

volatile uint8_t port; /* a register that nobody can see through */

#ifndef EMPTY
#define RING 512u

static uint32_t now_ms(void *user) {
    (void)user;
    return port;
}

static uint16_t write_line(void *user, const uint8_t *bytes, uint16_t count) {
    (void)user;
    port = bytes[0];
    return count;
}

static uint8_t command(void *user, el_command *asked) {
    (void)user;
    asked->result_size = 0;
    return el_is(asked, "led") ? EL_DONE : EL_NO_SUCH_COMMAND;
}

static uint8_t ring[RING], frame_in[EL_FRAME_MIN], frame_out[EL_FRAME_MIN], result[16];
static el_board board;
static el_config config;
static const el_channel channels[] = {{0, EL_I16, -1, "temperature", "Cel"}, {1, EL_BOOL, 0, "door", ""}};
static const uint8_t uid[] = {1, 2, 3, 4};
#endif

int main(void) {
#ifdef EMPTY
    for (;;) port = 1;
#else
    config.now_ms = now_ms;
    config.write = write_line;
    config.command = command;
    config.ring = ring;
    config.ring_size = RING;
    config.frame_in = frame_in;
    config.frame_out = frame_out;
    config.frame_in_size = config.frame_out_size = EL_FRAME_MIN;
    config.result = result;
    config.result_size = sizeof result;
    config.uid = uid;
    config.uid_size = sizeof uid;
    config.firmware = "footprint";
    config.channels = channels;
    config.channel_count = 2;
    config.random = port;
    if (el_start(&board, &config) != EL_OK) return 1;
    for (;;) {
        uint8_t byte = port;
        el_receive(&board, &byte, 1);
        el_begin(&board);
        el_put_int(&board, 0, port);
        el_put_int(&board, 1, port & 1);
        if (!el_commit(&board)) el_log(&board, 2, "full");
        el_poll(&board);
    }
#endif
}
