/* EdgeLink for Arduino: edgelink.h with its memory, its line and its clock. What it can do beyond this is in edgelink.h;
 * board() is what those functions want. */
#ifndef EDGELINKBOARD_H
#define EDGELINKBOARD_H

#include <Arduino.h>

#include "edgelink.h"

/* RingBytes: readings wait here until the edge has them; a frame of one number takes about 10. FrameBytes: 64 to 1024. */
template <uint16_t RingBytes, uint16_t FrameBytes = 64, uint8_t ResultBytes = 16> class EdgeLinkBoard {
public:
    /* Of all channels the text has to stay where it is. seed: something else at each start. False: see el_start. */
    template <uint8_t Channels>
    bool begin(Stream &line, const el_channel (&channels)[Channels], const uint8_t *uid, uint8_t uidSize,
               const char *firmware, uint32_t seed) {
        line_ = &line;
        config_.user = this;
        config_.now_ms = now;
        config_.write = write;
        config_.ring = ring_;
        config_.ring_size = RingBytes;
        config_.frame_in = frameIn_;
        config_.frame_out = frameOut_;
        config_.frame_in_size = config_.frame_out_size = FrameBytes;
        config_.result = result_;
        config_.result_size = ResultBytes;
        config_.uid = uid;
        config_.uid_size = uidSize;
        config_.firmware = firmware;
        config_.channels = channels;
        config_.channel_count = Channels;
        config_.random = seed;
        return el_start(&board_, &config_) == EL_OK;
    }

    /* Before begin: window, retry_ms, reason, command, images ... */
    el_config &config() { return config_; }
    el_board *board() { return &board_; }

    /* In loop(), as often as it can be. */
    void poll() {
        uint8_t bytes[16];
        for (;;) {
            uint8_t count = 0;
            while (count < sizeof bytes && line_->available() > 0) bytes[count++] = (uint8_t)line_->read();
            if (count == 0) break;
            el_receive(&board_, bytes, count);
        }
        el_poll(&board_);
    }

    void start() { el_begin(&board_); }
    void add(uint8_t channel, int16_t value) { el_put_int(&board_, channel, value); }
    void add(uint8_t channel, int32_t value) { el_put_int(&board_, channel, value); }
    void add(uint8_t channel, uint16_t value) { el_put_uint(&board_, channel, value); }
    void add(uint8_t channel, uint32_t value) { el_put_uint(&board_, channel, value); }
    void add(uint8_t channel, bool value) { el_put_uint(&board_, channel, value); }
    void add(uint8_t channel, float value) { el_put_float(&board_, channel, value); }
    void add(uint8_t channel, const char *text) { el_put_bytes(&board_, channel, text, (uint8_t)strlen(text)); }
    bool keep() { return el_commit(&board_); } /* false: the ring is full, or a value did not fit its channel */

    bool log(uint8_t level, const char *text) { return el_log(&board_, level, text); }
    uint32_t waiting() const { return el_waiting(&board_); }
    bool connected() const { return board_.welcomed; }

private:
    static uint32_t now(void *) { return millis(); }
    /* A line that says how much it takes without waiting is not waited for. */
    static uint16_t write(void *user, const uint8_t *bytes, uint16_t count) {
        Stream *line = static_cast<EdgeLinkBoard *>(user)->line_;
        int room = line->availableForWrite();
        if (room > 0 && (uint16_t)room < count) count = (uint16_t)room;
        return (uint16_t)line->write(bytes, count);
    }

    Stream *line_ = nullptr;
    el_board board_ = {};
    el_config config_ = {};
    uint8_t ring_[RingBytes];
    uint8_t frameIn_[FrameBytes], frameOut_[FrameBytes], result_[ResultBytes];
};

#endif
