"""The target ``columns``: parcels' columns (``shared/engine/parcel.pyx``) that are nearly right, stored by the compiled
code and read by a decoder in Python: nothing is stored, or what the decoder says.

A Step ``columns`` has in ``number`` the parcel's first sequence and how many it covers, in ``who`` the version and
whether the stream has limits, and the columns as data. A Step ``packed`` is a log: what is packed of it comes out.
"""

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from phloem.shared.engine.engine import Engine, Stream
from phloem.shared.engine.parcel import Packer, Unpacker, Unreadable
from phloem.shared.kernel import Kernel
from phloem.shared.store.log import Log
from tests.fuzz.frames import Nonsense
from tests.fuzz.making import spoil
from tests.fuzz.seals import varint
from tests.fuzz.steps import Step, Steps
from tests.fuzz.stored import HUGE, NUMBERS, any_number

MESSAGES, SUBJECTS, SUBJECT_MAX, HEADER_MAX, SHAPES, DIGITS, TIME = 65_536, 4_096, 32_768, 65_535, 255, 18, 20
FIGURES, EXPANDED, STORED = 1 << 20, 32 << 20, 64 << 20
SEQ_MAX = 1 << 61
WORDS = (b"a", b"tele.x", b"tele.y.z", b"x" * 300, b"a b", b"a\r\nPUB b 0\r\n", b"*", b"a.>", b"", b"a..b")
HEADERS = (
    b"",
    b"NATS/1.0\r\nA: b\r\n\r\n",
    b"NATS/1.0\r\nT: 1600000000000000007\r\n\r\n",
    b"no header",
    b"\r\n\r\n",
)
PAYLOADS = (b"21.5", b'{"t":%d,"v":%d.%02d}', b"%d,%d,-%d", b"00%d", b"", b"text", b"%d" * 40, b"\xff\0 %d")
ORIGIN = b"store.1"


class Message(NamedTuple):
    seq: int
    ts: int
    subject: bytes
    header: bytes
    payload: bytes


class Wrong(Exception):
    """No columns."""


# --- the decoder: as parcel.pyx and figures.pyx describe them, without a thought for speed


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def number(self) -> int:
        value = shift = 0
        while self.left and shift < 64:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1
            shift += 7
        raise Wrong

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise Wrong
        self.at += count
        return self.data[self.at - count : self.at]


def signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _need(true: bool) -> None:
    if not true:
        raise Wrong


def _runs(r: Reader, messages: int, below: int) -> list[int]:
    found: list[int] = []
    while len(found) < messages:
        value, times = r.number(), r.number()
        _need(0 < times <= messages - len(found) and value < below)
        found += [value] * times
    return found


def _is_subject(text: bytes) -> bool:
    tokens = text.split(b".")
    return not (set(text) & set(b" \t\n\v\f\r") or b"" in tokens or b"*" in tokens or b">" in tokens)


def _shape(text: bytes, timed: bool) -> list[tuple[bytes, int]]:
    """Pieces of text, and what stands behind each."""
    r, pieces = Reader(text), []
    while True:
        piece = r.take(r.number())
        mark = r.take(1)[0]
        _need(mark <= DIGITS + 1 or (mark == TIME and timed))
        pieces.append((piece, mark))
        if mark == 0:
            _need(not r.left)
            return pieces


def _expected(value: int, had: int, has: int) -> int:
    if has >= had:
        return signed(value * 10 ** (has - had))
    return abs(value) // 10 ** (had - has) * (1 if value >= 0 else -1)  # as C divides


def _texts(r: Reader, count: int, times: list[int] | None) -> list[bytes]:
    """Texts whose figures stand in columns, up to the end of ``r``."""
    number = r.number()
    _need(1 <= number <= SHAPES)
    sized = [r.take(r.number()) for _ in range(number)]
    shapes = [_shape(text, times is not None) for text in sized]
    figures = [len(shape) - 1 for shape in shapes]
    _need(sum(figures) <= FIGURES)
    choice = r.take(count)
    _need(all(one < number for one in choice))
    _need(
        sum(figures[one] for one in choice) <= FIGURES and sum(len(sized[one]) for one in choice) <= EXPANDED
    )
    values: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for index, shape in enumerate(shapes):
        mine = [i for i in range(count) if choice[i] == index]
        _need(bool(mine) or not figures[index])
        for _, mark in shape[:-1]:
            scales = _runs(r, len(mine), DIGITS)
            before, had = 0, 0
            for i, scale in zip(mine, scales, strict=True):
                before, had = signed(_expected(before, had, scale) + unzigzag(r.number())), scale
                _need(scale == 0 if mark == TIME else 0 <= before < 10**DIGITS)
                values[i].append((before, scale))
    _need(not r.left)
    found, total = [], 0
    for i in range(count):
        text = _put_together(shapes[choice[i]], values[i], times[i] if times is not None else 0)
        total += len(text)
        _need(total <= EXPANDED)
        found.append(text)
    return found


def _put_together(shape: list[tuple[bytes, int]], values: list[tuple[int, int]], ts: int) -> bytes:
    text = b""
    for at, (piece, mark) in enumerate(shape):
        text += piece
        if mark == 0:
            break
        value, scale = values[at]
        if mark == TIME:
            value = (value + ts) % (1 << 64)
            _need(10**DIGITS <= value < 9 * 10**DIGITS)
            text += b"%d" % value
        elif mark == 1:
            whole, rest = divmod(value, 10**scale)
            text += b"%d" % whole + (b"." + (b"%d" % rest).rjust(scale, b"0") if scale else b"")
        else:
            _need(not scale and mark > 2 and value < 10 ** (mark - 1))
            text += (b"%d" % value).rjust(mark - 1, b"0")
    return text


def read(columns: bytes, from_seq: int, next_seq: int) -> Iterator[Message]:
    """Raises Wrong, before the first message."""
    r = Reader(columns)
    version = r.take(1)[0]
    _need(version in (1, 2))
    count, nskips = r.number(), r.number()
    _need(1 <= count <= MESSAGES and nskips <= count)
    skips = [(r.number(), r.number()) for _ in range(nskips)]
    ts, step = struct.unpack("<q", r.take(8))[0], 0
    times = [ts]
    for _ in range(count - 1):
        step = signed(step + unzigzag(r.number()))
        times.append(signed(times[-1] + step))
    number = r.number()
    _need(1 <= number <= SUBJECTS)
    subjects = []
    for _ in range(number):
        size = r.number()
        _need(size <= SUBJECT_MAX)
        subjects.append(r.take(size))
        _need(_is_subject(subjects[-1]))
    names = _runs(r, count, number)
    timed = times if version == 2 else None
    headers = _headers(r, count, version, timed)
    kind = r.take(1)[0]
    _need(kind in (0, 1))
    if kind == 1:
        payloads = _texts(r, count, timed)
    else:
        sizes = [r.number() for _ in range(count)]
        payloads = [r.take(size) for size in sizes]
        _need(not r.left)
    seqs = _sequences(count, skips, from_seq)
    _need(seqs[-1] < next_seq)
    total = sum(len(subjects[names[i]]) + len(headers[i]) + len(payloads[i]) for i in range(count))
    _need(total <= STORED or count == 1)
    return (Message(seqs[i], times[i], subjects[names[i]], headers[i], payloads[i]) for i in range(count))


def _headers(r: Reader, count: int, version: int, times: list[int] | None) -> list[bytes]:
    if version == 2:
        kind = r.take(1)[0]
        _need(kind in (0, 1))
        if kind == 1:
            found = _texts(Reader(r.take(r.number())), count, times)
            _need(all(len(one) <= HEADER_MAX for one in found))
            return found
    sizes = _runs(r, count, HEADER_MAX + 1)
    _need(sum(sizes) < r.left)
    return [r.take(size) for size in sizes]


def _sequences(count: int, skips: list[tuple[int, int]], at: int) -> list[int]:
    found, left = [], list(skips)
    until = left[0][0] if left else -1
    for _ in range(count):
        if left and until == 0:
            _need(left[0][1] <= SEQ_MAX - at)
            at += left.pop(0)[1]
            until = left[0][0] if left else -1
            _need(until != 0)
        found.append(at)
        at += 1
        until -= 1
    _need(not left)
    return found


def stored(message: Message) -> tuple[bytes, bytes, bytes]:
    """As it lies in the hub's stream."""
    head = message.header
    if len(head) <= 4:
        head = b"NATS/1.0\r\n"
    elif head.endswith(b"\r\n\r\n"):
        head = head[:-2]
    elif not head.endswith(b"\r\n"):
        head += b"\r\n"
    line = b"Phloem-Origin: %b %d %d ?\r\n\r\n" % (ORIGIN, message.seq, max(message.ts, 0))
    return b"f." + message.subject, head + line, message.payload


# --- carrying out


class _Events:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def _stream(engine: Engine, limited: bool) -> Stream:
    made = Stream(engine, engine.kernel.account("A"), Log(), b"FLEET", b"", b"", lambda *_: None)
    made.configure(
        slow=False,
        retention=0,
        no_ack=False,
        sealed=False,
        discard_new=True,
        discard_new_per_subject=False,
        quota=None,
        max_msgs=20 if limited else -1,
        max_bytes=4_000 if limited else -1,
        max_msgs_per_subject=-1,
        max_msg_size=600 if limited else -1,
    )
    return made


def _contents(log: Log) -> list[tuple[bytes, bytes, bytes]]:
    found, at = [], 1
    while (message := log.next((), at)) is not None:
        found.append((message.subject, message.header, message.payload))
        at = message.seq + 1
    return found


def _columns(step: Step, engine: Engine) -> None:
    first, covered = (step.number & (1 << 63) - 1) or 1, step.number >> 63
    first, covered = min(first, SEQ_MAX >> 1), min(covered, SEQ_MAX >> 1)
    try:
        wanted = [stored(one) for one in read(step.data, first, first + covered)]
    except Wrong:
        wanted = []
    limited = bool(step.who & 1)
    stream = _stream(engine, limited)
    try:
        done = Unpacker(stream, b"f.").store(
            step.data, first, first + covered, first, ORIGIN, 0, b"?", False, 5
        )
    except Unreadable:
        if wanted or stream.log.messages:
            raise Nonsense(f"{len(wanted)} messages, and they were not read") from None
        return
    if not wanted:
        raise Nonsense(f"{done} of what is no parcel")
    came = _contents(stream.log)
    if not limited and came != wanted:
        raise Nonsense("others were stored than there are")
    if done.messages != len(came) or (limited and not set(came) <= set(wanted)):
        raise Nonsense(f"{done}, and {len(came)} are there")


def _packed(step: Step, engine: Engine) -> None:
    """A log made of the data; both versions of its parcels hold what it has."""
    r, log = Random(step.data), Log()
    for _ in range(r.randrange(1, 40)):
        if r.random() < 0.1:
            log.skip(log.last_seq + r.randint(1, 1 << r.randrange(40)))
        log.append(r.choice(WORDS[:4]), r.choice(HEADERS), _payload(r), r.randrange(1 << 62))
    for version in (1, 2):
        packer, at = Packer(log), log.first_seq
        while (packed := packer.pack(at, log.last_seq, step.number % 5_000 + 1, 0, version)) is not None:
            step = Step("columns", 0, packed.next_seq - at << 63 | at, packed.columns)
            _columns(step, engine)
            if [one.seq for one in read(packed.columns, at, packed.next_seq)][-1] != packed.next_seq - 1:
                raise Nonsense("a parcel that ends elsewhere")
            at = packed.next_seq


def run(steps: Steps) -> None:
    kernel = Kernel(_Events(), seed=1)
    try:
        engine = Engine(kernel)
        for step in steps:
            (_packed if step.verb == "packed" else _columns)(step, engine)
    finally:
        kernel.close()


# --- making


def _payload(r: Random) -> bytes:
    pattern = r.choice(PAYLOADS)
    count = pattern.count(b"%")
    return pattern % tuple(r.randrange(10 ** r.choice((1, 2, 5, 9, 19))) for _ in range(count))


class _Parts:
    """Columns as numbers and texts, so that one of them can be another before they are written."""

    def __init__(self, r: Random, spoiled: float) -> None:
        self._r, self._spoiled = r, spoiled
        self.data = bytearray()

    def number(self, value: int) -> None:
        if self._r.random() < self._spoiled:
            value = self._r.choice((0, value + 1, max(value - 1, 0), any_number(self._r), *NUMBERS, *HUGE))
        self.data += varint(value)

    def text(self, text: bytes) -> None:
        self.data += spoil(self._r, text) if self._r.random() < self._spoiled else text

    def runs(self, values: list[int]) -> None:
        at = 0
        while at < len(values):
            end = at
            while end < len(values) and values[end] == values[at]:
                end += 1
            self.number(values[at])
            self.number(end - at)
            at = end


def _figures(p: _Parts, r: Random, count: int, timed: bool) -> None:
    """Texts in columns that need not come from any payload."""
    shapes = [
        [r.choice((1, 1, 1, 3, 19, TIME if timed else 1)) for _ in range(r.choice((0, 1, 2, 3, 12)))]
        for _ in range(r.choice((1, 1, 2, 3)))
    ]
    p.number(len(shapes))
    for marks in shapes:
        text = b"".join(varint(n := r.choice((0, 1, 3))) + b"-ab"[:n] + bytes([mark]) for mark in (*marks, 0))
        p.number(len(text))
        p.text(text)
    choice = [i if i < len(shapes) else r.randrange(len(shapes)) for i in range(count)]
    p.text(bytes(choice))
    for index, marks in enumerate(shapes):
        for mark in marks:
            mine = choice.count(index)
            p.runs([r.choice((0, 0, 0, 2, 17)) if mark == 1 else 0 for _ in range(mine)])
            for _ in range(mine):
                p.number(2 * r.randrange(10 ** r.choice((0, 1, 1, 3, 17))) | (r.random() < 0.1))


def _made(r: Random) -> Step:
    """Columns written by hand."""
    p = _Parts(r, r.choice((0.0, 0.0, 0.01, 0.03)))
    version, count = r.choice((1, 2)), r.choice((1, 1, 2, 5, 9, 30))
    many = r.random() < 0.01
    count = r.choice((5_000, 65_536, 65_537)) if many else count
    p.text(bytes([version]))
    p.number(count)
    skips = [(r.randrange(3), r.choice((1, 2, 1 << 20))) for _ in range(r.choice((0, 0, 1, 2)))]
    p.number(len(skips))
    for since, over in skips:
        p.number(since)
        p.number(over)
    p.text(struct.pack("<q", r.choice((0, 1_600_000_000 * 10**9, (1 << 63) - 1, -5))))
    p.data += b"\2" * (count - 1) if many else b""
    for _ in range(0 if many else count - 1):
        p.number(r.choice((0, 2, 20)))
    subjects = [r.choice(WORDS[:4] if r.random() < 0.98 else WORDS) for _ in range(r.choice((1, 1, 2, 3)))]
    subjects[0] = b"y" * r.choice((900, 1_100, 32_768, 32_769)) if many else subjects[0]
    p.number(len(subjects))
    for subject in subjects:
        p.number(len(subject))
        p.text(subject)
    p.runs(sorted(r.randrange(len(subjects)) for _ in range(count)))
    if version == 2 and not many and r.random() < 0.4:
        inner = _Parts(r, p._spoiled)
        _figures(inner, r, count, True)
        p.text(b"\1")
        p.number(len(inner.data))
        p.data += inner.data
    else:
        p.text(b"\0" if version == 2 else b"")
        headers = [b""] * count if many else [r.choice(HEADERS) for _ in range(count)]
        p.runs([len(header) for header in headers])
        p.text(b"".join(headers))
    if not many and r.random() < 0.5:
        p.text(b"\1")
        _figures(p, r, count, version == 2)
    else:
        payloads = [b""] * count if many else [_payload(r) for _ in range(count)]
        p.text(b"\0")
        for payload in payloads:
            p.data += varint(len(payload))
        p.text(b"".join(payloads))
    first = r.choice((1, 1, 7, 1 << 40, SEQ_MAX >> 1))
    covered = count + sum(over for _, over in skips) + r.choice((0, 0, 0, 1, -1))
    return Step("columns", int(r.random() < 0.2), max(covered, 0) << 63 | first, bytes(p.data))


def make(r: Random) -> Steps:
    """Some parcels, each for a stream of its own."""
    return tuple(
        _made(r) if r.random() < 0.8 else Step("packed", 0, r.randrange(5_000), r.randbytes(8))
        for _ in range(r.randint(1, 6))
    )
