"""What ``el_sim`` is for the board in C, for MicroPython, with the same lines and options; runs under both Pythons."""

import binascii
import sys

sys.path.insert(0, sys.argv[1])  # where edgelink.py is
import edgelink
import edgelink_images


class Place:
    """Where images go."""

    def begin(self, image, size, version):
        print("image", version)
        if size > 100_000:
            return edgelink_images.NO_ROOM, 0
        self.flash = bytearray(size)
        return edgelink_images.RECEIVING, 0

    def write(self, offset, data):
        self.flash[offset : offset + len(data)] = data
        return True

    def read(self, offset, count):
        return bytes(self.flash[offset : offset + count])

    def restart(self, image):
        print("restart", image)


class Sim:
    def __init__(self, options, channels):
        self.options, self.channels = options, channels
        self.kinds = {channel[0]: channel[1] for channel in channels}
        self.boot = int(options.get("boot", 1))
        self.now, self.space, self.out = 0, 1 << 29, b""
        self.start(int(options.get("random", 1)))

    def start(self, random):
        o = self.options
        self.board = edgelink.Board(
            self.write,
            binascii.unhexlify(o.get("uid", "00")),
            o.get("firmware", "el_sim"),
            self.channels,
            now_ms=lambda: self.now,
            ring_bytes=int(o.get("ring", 1024)),
            max_frame=max(int(o.get("frame-in", 64)), int(o.get("frame-out", 64))),
            window=int(o.get("window", 4)),
            retry_ms=int(o.get("retry", 200)),
            boot=self.boot,
            reason=int(o.get("reason", 0)),
            epoch=0x10000 * (random & 0x7FFF) + 7,
            command=self.command,
            images=edgelink_images.Images(Place()),
        )

    def write(self, data):
        taken = data[: self.space]
        self.space -= len(taken)
        self.out += taken
        return len(taken)

    def command(self, name, argument):
        print("command", name, binascii.hexlify(argument).decode())
        if name == "echo":
            return (0, argument) if len(argument) <= 64 else (4, b"")
        return {"later": (3, b""), "fail": (2, b"why")}.get(name, (1, b""))

    def take(self, line):
        verb, _, rest = line.partition(" ")
        words = rest.split(" ")
        if verb == "now":
            self.now = int(rest)
        elif verb == "in":
            self.board.receive(binascii.unhexlify(rest))
        elif verb == "poll":
            self.board.poll()
            print("out", binascii.hexlify(self.out).decode())
            self.out = b""
        elif verb == "room":
            self.space = int(rest)
        elif verb == "put":
            values = {}
            for at in range(0, len(words) - 2, 3):
                channel, kind, text = int(words[at]), words[at + 1], words[at + 2]
                if kind == "bytes":
                    value = b"" if text == "-" else binascii.unhexlify(text)
                    if self.kinds.get(channel) == edgelink.TEXT:
                        value = value.decode()
                else:
                    value = float(text) if kind in ("float", "double") else int(text)
                values[channel] = value
            print("kept", int(self.board.put(values)))
        elif verb == "log":
            print("said", int(self.board.log(int(words[0]), rest[len(words[0]) + 1 :])))
        elif verb == "finish":
            self.board.finish(int(words[0]), binascii.unhexlify(words[1]))
        elif verb == "restart":
            self.boot, self.out = self.boot + 1, b""
            self.start(int(rest))
        elif verb == "state":
            self.state()
        elif verb == "unix":
            unix = self.board.unix_ms()
            print("unix", int(unix is not None), unix or 0)
        else:
            raise ValueError(line)

    def state(self):
        board, counts = self.board, self.board.counts
        pairs = [
            ("waiting", board.waiting()),
            ("welcomed", int(board.welcomed)),
            ("idle", int(board.idle())),
            ("silence", board.silence_ms()),
        ]
        names = ("frames", "noise", "foreign", "repeated", "refused", "renewed")
        pairs += [(name, getattr(counts, name)) for name in names]
        print("state", " ".join(["{}={}".format(*pair) for pair in pairs]))


def main(words):
    options, channels = {}, []
    for at in range(0, len(words), 2):
        if words[at] == "--channel":
            number, kind, exponent, name, unit = words[at + 1].split(",")
            channels.append((int(number), int(kind), int(exponent), name, unit))
        else:
            options[words[at][2:]] = words[at + 1]
    sim = Sim(options, tuple(channels))
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        sim.take(line[:-1])
        print("ok")
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()


main(sys.argv[2:])
