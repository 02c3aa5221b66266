/* el_fuzz on an ATmega2560 in simavr, where an int has 16 bits: prints through its serial port and stops. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdio.h>

int fuzz_main(int argc, char **argv);

static int put_char(char byte, FILE *file) {
    (void)file;
    while ((UCSR0A & (1 << UDRE0)) == 0) {
    }
    UDR0 = (unsigned char)byte;
    return 0;
}

int main(void) {
    static char name[] = "el_fuzz", seed[] = "1", count[] = "6", *argv[] = {name, seed, count};
    static FILE out = FDEV_SETUP_STREAM(put_char, NULL, _FDEV_SETUP_WRITE);
    UCSR0B = 1 << TXEN0;
    stdout = stderr = &out;
    fuzz_main(3, argv);
    cli();
    sleep_enable();
    sleep_cpu(); /* without interrupts: simavr ends */
}
