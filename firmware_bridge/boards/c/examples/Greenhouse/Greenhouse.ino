// Temperature and a door, every second, over the USB port; the command "led" with the argument "1" or "0".
#include <EdgeLinkBoard.h>

const el_channel channels[] = {
    {0, EL_I16, -1, "temperature", "Cel"},
    {1, EL_BOOL, 0, "door", ""},
};
const uint8_t uid[] = {0x12, 0x34, 0x56, 0x78};  // another one on each board; many chips have their own number
EdgeLinkBoard<512> link;

uint8_t onCommand(void *, el_command *command) {
    command->result_size = 0;
    if (!el_is(command, "led")) return EL_NO_SUCH_COMMAND;
    if (command->argument_size != 1) return EL_ARGUMENT_REFUSED;
    digitalWrite(LED_BUILTIN, command->argument[0] == '1' ? HIGH : LOW);
    return EL_DONE;
}

void setup() {
    Serial.begin(115200);
    pinMode(LED_BUILTIN, OUTPUT);
    pinMode(2, INPUT_PULLUP);
    uint32_t seed = micros();
    for (uint8_t i = 0; i < 32; i++) seed = seed << 1 ^ seed >> 31 ^ (uint32_t)analogRead(A5);  // an open input: noise
    link.config().command = onCommand;
    link.begin(Serial, channels, uid, sizeof uid, "greenhouse 1.0", seed);
}

void loop() {
    static uint32_t last = 0;
    link.poll();
    if (millis() - last < 1000) return;
    last += 1000;
    link.start();
    link.add(0, (int16_t)((analogRead(A0) * 5000L / 1023 - 500)));  // TMP36: 10 mV a degree, 500 mV at 0
    link.add(1, digitalRead(2) == HIGH);
    if (!link.keep()) link.log(2, "the ring is full, a reading is lost");
}
