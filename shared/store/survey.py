"""Everything that a store's folder holds, looked at once: what there is, what is damaged, and, for a repair, what is
good put into another store.

Findings are values; nothing here prints. Damage in one place shows in others too (a lost message is missing from its
subject's count): each place says what it sees, because that is what a repair is judged by.
"""

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

import zstandard

from phloem.shared.limits import (
    STORE_FINDINGS_MAX,
    STORE_JOURNAL_BYTES_MAX,
    STORE_REPAIR_MOVE_BYTES,
)
from phloem.shared.store import inspect
from phloem.shared.store.frames import Journals, generations_in, open_batch
from phloem.shared.store.held import Progress
from phloem.shared.store.inspect import Inspector, Reader, State, Tally
from phloem.shared.store.store import Store, mark_of
from phloem.shared.store.vault import Vault

MARK_KEY = b"bad:"
MADE_ANEW = (
    "page",
    "chain",
    "index",
    "key",
)  # cost nothing: a repair makes it as it was, or says what it cannot


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    ``kind``: file, page, block, message, chain, removed, index, key, state, journal or pair; mark: what an earlier
    repair could not keep, and nobody has looked at yet.
    """

    kind: str
    text: str
    ident: int = 0
    stream: str = ""
    first: int = 0
    last: int = 0
    bytes: int = 0
    lost: int = 0  # messages that are gone because of it, as far as can be known

    def __str__(self) -> str:
        log = f"log {self.ident}" + (f" (stream {self.stream})" if self.stream else "") if self.ident else ""
        seqs = f"sequences {self.first} to {self.last}" if self.last > self.first else ""
        seqs = f"sequence {self.first}" if self.first == self.last > 0 else seqs
        where = ", ".join(part for part in (log, seqs) if part)
        return f"{self.kind}: {where}{': ' if where else ''}{self.text}"


@dataclass
class Orphans:
    """Entries that no tree leads to, found by their own checksums."""

    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    dead: dict[bytes, bytes] = field(default_factory=dict)
    pairs: dict[bytes, bytes] = field(default_factory=dict)
    meta: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Totals:
    """What was looked at."""

    logs: int = 0
    blocks: int = 0
    block_bytes: int = 0
    messages: int = 0
    subjects: int = 0
    pairs: int = 0
    batches: int = 0
    bytes: int = 0


def _expand(data: bytes, size: int) -> bytes:
    if zstandard.frame_content_size(data) != size:
        raise ValueError("not the size that the block's head says")
    return zstandard.ZstdDecompressor().decompress(data)


class Survey:
    """One look at a folder that is not in use; without ``journals`` at what nobody writes to: data.mdb alone."""

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        into: Store | None = None,
        vault: Vault | None = None,
        *,
        journals: bool = True,
    ) -> None:
        self.folder = folder
        self._with_journals = journals
        self.into = into
        self._vault = vault
        self._reader = Reader(vault)
        self.totals = Totals()
        self.findings: list[Finding] = []
        self.unlisted = 0  # findings beyond the bound
        self.orphans = Orphans()
        self.streams: dict[int, str] = {}
        self._progress = progress
        self._generation = 0
        self._read = Journals(0, vault)
        self._marks: list[tuple[int, bytes]] = []
        self._gaps: dict[int, list[tuple[int, int]]] = {}
        self._states: dict[int, State] = {}
        self._tallies: dict[int, Tally] = {}
        self._dead: dict[bytes, bytes | None] = {}
        self._folds: dict[int, int] = {}
        self._met: dict[str, set[bytes]] = {"meta": set(), "pairs": set()}  # keys
        self._unmoved = 0  # bytes in memory of the store that is being made

    def _find(self, kind: str, text: str, ident: int = 0, **more: int) -> None:
        if len(self.findings) >= STORE_FINDINGS_MAX:
            self.unlisted += 1
            return
        self.findings.append(Finding(kind, text, ident, self.streams.get(ident, ""), **more))

    @property
    def lost(self) -> int:
        """Messages that are gone, as far as can be known."""
        return sum(finding.lost for finding in self.findings)

    def run(self, extra: Orphans | None = None) -> "Survey":
        """Look; ``extra`` is what an earlier look found outside the trees."""
        path = self.folder / "data.mdb"
        extra = extra or Orphans()
        if path.exists() and path.stat().st_size == 0:
            self._find("file", "data.mdb is empty; it never was when it was made")
        elif path.exists():
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                inspector = Inspector(data)
                try:
                    self._file(inspector, len(data), extra)
                finally:
                    inspector.close()
                    for tally in self._tallies.values():
                        tally.close()
        if self._with_journals:
            self._journals()
        return self

    def _file(self, inspector: Inspector, size: int, extra: Orphans) -> None:
        self.totals.bytes = size
        if not inspector.readable:
            self._find("file", "data.mdb has no head that can be read; nothing in it can be found")
            return
        missing = inspector.missing() if inspector.pages > 2 else []
        for name in missing:
            self._find("page", f"the database {name} cannot be found")
        self._meta([*inspector.walk("meta"), *extra.meta.items()])
        self._pairs(inspector.walk("pairs"), extra)
        for key, value in [*inspector.walk("dead"), *extra.dead.items()]:
            key, self._dead[key] = self._unsealed("dead", key, value)
        for ident, mark in self._marks:
            first, last, text = mark_of(mark)
            self._find("mark", text, ident, first=first, last=last)
        self._blocks(merge(inspector.walk("blocks"), sorted(extra.blocks)), size)
        self._subjects(inspector.walk("subjects"))
        self._compare()
        inspector.finish()
        for page, text in inspector.problems():
            self._find("page", f"page {page} of data.mdb {text}")
        if inspector.problems() or missing:
            self._adopt(inspector.orphans())
        for name, keys in self._met.items():
            said = inspector.entries(name)
            if said is None and inspector.pages > 2:
                self._find(
                    "pair" if name == "pairs" else "state", f"nobody knows what the database {name} had"
                )
            elif said is not None and said > len(keys):
                self._find(
                    "pair" if name == "pairs" else "state", f"{said - len(keys)} entries of {name} are gone"
                )

    # --- LMDB ----------------------------------------------------------------------------------------

    def _meta(self, entries: list[tuple[bytes, bytes]]) -> None:
        for found, sealed in entries:
            key, value = self._unsealed("meta", found, sealed)
            self._met["meta"].add(key)
            place = inspect.place_of(value) if value is not None and key == b"generation" else None
            if place is not None:
                self._generation, batch = place
                self._read = Journals(batch, self._vault)
                continue
            if value is not None and key[:4] == MARK_KEY:
                self._marks.append((int.from_bytes(key[4:], "little"), value))
                continue
            state = inspect.state_of(value) if value is not None and len(key) == 8 else None
            if state is None or not state.first_seq <= state.last_seq + 1 <= 1 << 62:
                self._find("state", f"what is kept under {key!r} is damaged")
            else:
                self._states[int.from_bytes(key[4:], "little")] = state

    def _unsealed(self, name: str, key: bytes, sealed: bytes) -> tuple[bytes, bytes | None]:
        """The key that an entry was written under, and its value; None: it is damaged."""
        value = self._reader.unsealed(name, key, sealed)
        if value is None and (right := self._reader.rightful(name, key, sealed)) is not None:
            self._find("key", f"what is kept under {key!r} was kept under {right!r}")
            return right, self._reader.unsealed(name, right, sealed)
        return key, value

    def _pairs(self, entries: Iterator[tuple[bytes, bytes]], extra: Orphans) -> None:
        for key, sealed in [*extra.pairs.items()]:
            self._pair(key, sealed)
        for key, sealed in entries:
            self._pair(key, sealed)

    def _pair(self, key: bytes, sealed: bytes) -> None:
        pair, right = self._reader.pair(key, sealed), None
        if pair is None and (right := self._reader.rightful("pairs", key, sealed)) is not None:
            pair = self._reader.pair(right, sealed)
            self._find("key", f"what is kept under {key!r} was kept under {right!r}")
        if pair is None:
            self._met["pairs"].add(key)
            self._find("pair", f"what is kept under {key!r} is damaged", bytes=len(sealed))
            return
        self._met["pairs"].add(right or key)
        key, value = pair
        self.totals.pairs += 1
        if key.startswith(b"s/") and value.startswith(b"{"):
            self._name(key, value)
        if self.into is not None:
            inspect.put(self.into, key, value)

    def _name(self, key: bytes, value: bytes) -> None:
        """A server's record of a stream names the number of its log."""
        try:
            record = json.loads(value)
        except ValueError:
            return
        if isinstance(record, dict) and isinstance(record.get("ident"), int):
            self.streams[record["ident"]] = key.decode(errors="replace").partition("/")[2]

    def _blocks(self, entries: Iterator[tuple[bytes, bytes]], size: int) -> None:
        done = 0
        for key, value in entries:
            done += len(value)
            self._progress("blocks", done, size)
            if len(key) != 12:
                self._find("block", f"its key {key!r} is none", bytes=len(value))
                continue
            ident = int.from_bytes(key[:4])
            self._folds[ident] = self._folds.get(ident, 0) ^ inspect.fold_of(key)
            home = self._reader.home(key, value)
            if home is not None and home != key:
                self._find("key", f"a block stands under {key.hex()}", int.from_bytes(home[:4]))
                self.orphans.blocks.append((home, value))
                continue
            self._block(key, value)
        for key in self._dead:
            self._find("removed", f"there is no block for the removed messages under {key.hex()}")

    def _tally(self, ident: int) -> Tally:
        tally = self._tallies.get(ident)
        if tally is None:
            tally = self._tallies[ident] = Tally(ident, _expand, self._vault)
            self.totals.logs += 1
        return tally

    def _block(self, key: bytes, value: bytes) -> None:
        ident = int.from_bytes(key[:4])
        tally = self._tally(ident)
        self.totals.blocks += 1
        self.totals.block_bytes += len(value)
        bits = self._dead.pop(key, None) if key in self._dead else b""
        if bits is None:
            self._find(
                "removed", "which messages of a block were removed is damaged; all of them are kept", ident,
                first=tally.last + 1, last=int.from_bytes(key[4:])
            )  # fmt: skip
        if self.into is not None:
            self._make_room(ident, key, value)
        before = tally.last
        found = tally.block(key, value, bits or None, self.into)
        self._gap(ident, before + 1, found.first - 1)
        self.totals.messages += found.kept
        if found.text and found.live and not found.kept and not found.damaged:
            self._find(
                "block",
                found.text,
                ident,
                first=found.first,
                last=found.last,
                bytes=len(value),
                lost=found.live,
            )
        elif found.text:
            self._find("removed", found.text, ident, first=found.first, last=found.last)
        for seq in found.damaged:
            self._find("message", "its checksum does not match", ident, first=seq, last=seq, lost=1)
        for seq in found.chains:
            self._find(
                "chain",
                "it does not lead to the message before it on its subject",
                ident,
                first=seq,
                last=seq,
            )

    def _gap(self, ident: int, first: int, last: int) -> None:
        """No block has these sequences: they were removed, or lost."""
        if ident in self._states:
            first = max(first, self._states[ident].first_seq)
        if first <= last:
            self._gaps.setdefault(ident, []).append((first, last))

    def _make_room(self, ident: int, key: bytes, value: bytes) -> None:
        """The store that is being made takes this block's messages into memory; before that, what it has may go."""
        assert self.into is not None
        self._unmoved += len(value)
        if self._unmoved > STORE_REPAIR_MOVE_BYTES:
            inspect.move(self.into)
            self._unmoved = 0
        inspect.begin(self.into, ident, compress=bool(self._reader.is_block(key, value)))

    def _subjects(self, entries: Iterator[tuple[bytes, bytes]]) -> None:
        wrong: dict[int, int] = {}
        for key, sealed in entries:
            value = self._reader.unsealed("subjects", key, sealed)
            parts = inspect.subject_of(key, value, self._vault) if value is not None else None
            ident = int.from_bytes(key[:4])
            self.totals.subjects += 1
            if parts is None:
                self._find("index", f"the entry of a subject is damaged: {key[4:]!r}", ident)
            elif not self._tally(ident).subject(*parts):
                wrong[ident] = wrong.get(ident, 0) + 1
        for ident, count in wrong.items():
            self._find("index", f"{count} subjects do not agree with the messages", ident)

    def _compare(self) -> None:
        """Counters of each log with its messages; a store that is being made gets the last sequences."""
        for ident, tally in self._tallies.items():
            if tally.left:
                example = tally.unseen()[0].decode(errors="replace")
                self._find("index", f"{tally.left} subjects are not in the index, as {example}", ident)
            if ident not in self._states:
                self._find(
                    "state",
                    "its counters are not there; the last sequence is that of its last message",
                    ident,
                )
        for ident, state in self._states.items():
            if state.blocks is not None and state.blocks != self._folds.get(ident, 0):
                self._find("key", "its blocks are not under the keys that they were written under", ident)
            tally = self._tally(ident)
            self._gap(ident, tally.last + 1, state.last_seq)
            gaps = self._gaps.get(ident, []) if tally.messages < state.messages else []
            for name, said, counted in (
                ("messages", state.messages, tally.messages),
                ("bytes", state.bytes, tally.bytes),
                ("subjects", state.subjects, tally.subjects),
                ("first sequence", state.first_seq, tally.first or state.last_seq + 1),
            ):
                if said != counted:
                    first, last = (gaps[0][0], gaps[-1][1]) if gaps and name == "messages" else (0, 0)
                    text = f"its {name} are said to be {said}, there are {counted}"
                    self._find("state", text, ident, first=first, last=last)
            if tally.last > state.last_seq:
                self._find(
                    "state", f"its last sequence is said to be {state.last_seq}, there is {tally.last}", ident
                )
        if self.into is not None:
            for ident, tally in self._tallies.items():
                inspect.begin(self.into, ident, compress=tally.compressed)
                inspect.finish(
                    self.into, ident, self._states[ident].last_seq if ident in self._states else tally.last
                )
            inspect.move(self.into)

    def _adopt(self, entries: Iterator[tuple[bytes, bytes, bool]]) -> None:
        """What damaged pages led to and is sound itself."""
        for key, value, placed in entries:
            home = self._reader.home(key, value)
            if home is not None and (placed or self._vault is not None or value[2:4] != b"\0\0"):
                self.orphans.blocks.append((home, value))
                continue
            for name, kept in (
                ("dead", self.orphans.dead),
                ("pairs", self.orphans.pairs),
                ("meta", self.orphans.meta),
            ):
                right = key
                if self._reader.unsealed(name, key, value) is None:
                    right = self._reader.rightful(name, key, value) or b""
                if right:
                    kept[right] = value

    # --- the journal ---------------------------------------------------------------------------------

    def _journals(self) -> None:
        numbers = generations_in(str(self.folder))
        if not self._generation and numbers and numbers[0] > 1:
            self._find("file", "data.mdb does not have what the journal goes on from")
        for number in numbers:
            if number > self._generation:
                self._journal(self.folder / f"journal-{number:08d}", number)
        for text in self._read.damage():
            self._find("journal", text)

    def _journal(self, path: Path, number: int) -> None:
        size = path.stat().st_size
        if size > STORE_JOURNAL_BYTES_MAX:
            self._find("journal", f"{path.name} is larger than can be read", bytes=size)
        with path.open("rb") as file:
            data = file.read(min(size, STORE_JOURNAL_BYTES_MAX))
        places = self._read.read(path.name, data, number)
        self._progress(path.name, len(data), len(data))
        good = [batch for at in places if open_batch(*(batch := self._read.plain(data, at)))]
        if len(good) < len(places):
            self._find("journal", f"{path.name}: {len(places) - len(good)} batches cannot be read")
        self.totals.batches += len(good)
        if self.into is not None:
            inspect.apply(self.into, good)
            inspect.move(self.into)
