"""Graphs of accounts, most of which a server has to take, and what clients do in them, out of a random number.

hypothesis would need a quarter of a second for one. The alphabet is small on purpose: what one account imports as
``a.b`` should be what another one maps, exports or listens to. Replies are asked for on subjects of four tokens that
begin with ``i``, which no service import covers.
"""

from dataclasses import dataclass
from random import Random

from tests.property.account_model import Graph, Pub, Sub, Unsub, User
from tests.property.account_rules import Verdict, collide, plausible, verdict
from tests.property.model import Permissions

from phloem.shared.accounts.definition import (
    Definition,
    Destination,
    Export,
    Import,
    Kind,
    ResponseType,
    SubjectMapping,
)

NAMES = ("A", "B", "C", "D", "E", "F")
EXPORTED = ("a", "b", "a.b", "a.*", "b.>", "*.c", "*.*", "a.*.*", "c.*", "*.b.*", "a.b.>")
INBOXES = ("i.i.i.1", "i.i.i.2", "i.i.i.3")
FORGED = b'NATS/1.0\r\nNats-Request-Info: {"acc":"EVIL"}\r\n\r\n'

TOKENS = ("a", "b", "c")
KINDS = tuple(ResponseType)
PAYLOADS = (b"m", b"m", b"m", b"")


@dataclass(frozen=True)
class Answer:
    """A reply to one of the requests that somebody has got; ``which`` counts from the last one."""

    which: int
    payload: bytes
    reply: str = ""
    elsewhere: int | None = None  # the client that sends it, if not the one that was asked


@dataclass(frozen=True)
class Reload:
    """The configuration is another one from here on, with the same accounts and users; a bad one changes nothing."""

    graph: Graph


Step = tuple[int, Sub | Unsub | Pub] | Answer | Reload


@dataclass(frozen=True)
class Script:
    graph: Graph
    clients: tuple[tuple[User, bool, bool], ...]  # user, echo, headers
    steps: tuple[Step, ...]


def _tokens(r: Random, least: int, most: int) -> list[str]:
    return r.choices(TOKENS, k=r.randint(least, most))


def fill(r: Random, pattern: str) -> str:
    """A subject that ``pattern`` matches."""
    made = []
    for token in pattern.split("."):
        if token == ">":
            made.extend(_tokens(r, 1, 2))
        else:
            made.append(r.choice(TOKENS) if token == "*" else token)
    return ".".join(made)


def narrow(r: Random, pattern: str) -> str:
    """A pattern that ``pattern`` covers, often itself."""
    if r.random() < 0.5:
        return pattern
    made = []
    for token in pattern.split("."):
        if token == ">":
            made.extend(r.choice([[">"], ["a"], ["*"], ["b", ">"]]))
        else:
            made.append(r.choice(["*", "a", "b", "c"]) if token == "*" else token)
    return ".".join(made)


def _local(r: Random, kind: Kind, subject: str, others: list[str]) -> str:
    """What an import is called at home: empty for the same, behind a prefix, or with its wildcards moved."""
    theirs = subject.split(".")
    way = r.choice(["same", "prefix", "moved", "moved", "exported", "exported", "exported"])
    if way == "prefix":
        return f"{r.choice(TOKENS)}.{subject}"
    if way == "exported":  # what comes in by one door goes out by another
        fitting = [
            o for o in others if [t for t in o.split(".") if t in "*>"] == [t for t in theirs if t in "*>"]
        ]
        return r.choice(fitting) if fitting else ""
    if way == "same":
        return ""
    wildcards = theirs.count("*")
    if not {"*", ">"} & set(theirs):
        if kind is Kind.SERVICE and r.randint(0, 3) == 3:
            return r.choice(["b.*", "c.*.a"])  # many subjects for one service
        return ".".join(_tokens(r, 1, 3))
    marks = [f"${number}" for number in range(1, wildcards + 1)]
    marks = r.sample(marks, len(marks)) if r.random() < 0.5 else ["*"] * wildcards
    plain = _tokens(r, 0 if wildcards else 1, 2)
    mixed = r.sample([*marks, *plain], len(marks) + len(plain)) if "*" not in marks else [*plain, *marks]
    return ".".join([*mixed, *([">"] if theirs[-1] == ">" else [])])


def _exports(r: Random, names: tuple[str, ...]) -> tuple[Export, ...]:
    found: list[Export] = []
    for _ in range(r.choice([1, 2, 3])):
        kind = r.choice(list(Kind))
        subject = r.choice(EXPORTED)
        clash = [e for e in found if e.kind is kind and collide(e.subject, subject)]
        if clash and r.randint(0, 5):
            continue
        if any(e.subject == subject for e in clash):
            continue
        access = r.choice(["public", "public", "list", "position"])
        wild = [at + 1 for at, token in enumerate(subject.split(".")) if token == "*"]
        found.append(
            Export(
                kind,
                subject,
                accounts=frozenset(r.sample(names, r.randint(1, 3))) if access == "list" else None,
                token_position=r.choice(wild) if access == "position" and wild else 0,
                response_type=r.choice(list(ResponseType))
                if kind is Kind.SERVICE
                else ResponseType.SINGLETON,
            )
        )
    return tuple(found)


def _import(r: Random, importer: Definition, exporter: Definition, careful: bool) -> Import | None:
    fitting = [
        e for e in exporter.exports if not careful or e.accounts is None or importer.name in e.accounts
    ]
    if not fitting:
        return None
    export = r.choice(fitting)
    subject = narrow(r, export.subject)
    if not careful and r.random() < 0.5:
        subject = r.choice(EXPORTED)
    if export.token_position and careful:
        parts = export.subject.split(".")
        parts[export.token_position - 1] = importer.name
        subject = narrow(r, ".".join(parts))
    local = _local(r, export.kind, subject, [e.subject for e in importer.exports if e.kind is export.kind])
    # nats-server finds the import that is to share by the exporter's subject, which should be there once then
    again = [e for e in importer.imports if (e.account, e.subject) == (exporter.name, subject)]
    if any(e.share for e in again):
        return None
    share = export.kind is Kind.SERVICE and not again and r.random() < 0.5
    return Import(export.kind, exporter.name, subject, local, share=share)


def _mappings(r: Random, exports: tuple[Export, ...]) -> tuple[SubjectMapping, ...]:
    """Sources that do not overlap: which of two would be taken is not said."""
    found: list[SubjectMapping] = []
    for _ in range(r.choice([0, 0, 1, 2])):
        source = r.choice(["a", "a.*", "b.*", "c.>", "a.b.*", "i.i.i.*", *(e.subject for e in exports)])
        if source.startswith("*") or any(collide(source, m.source) for m in found):
            continue
        marks = [f"${n + 1}" for n in range(source.split(".").count("*"))]
        fixed = _tokens(r, 1, 2)
        if source.startswith("i"):
            fixed, marks = ["i", "i", "i"], ["$1"] if r.random() < 0.5 else ["2"]
        elif marks and r.random() < 0.5:
            marks = ["{{partition(2,1)}}"]
        elif not marks and r.randint(0, 2) == 2 and source[-1] != ">":
            marks = ["{{partition(3)}}"]
        made = ".".join([*fixed, *marks, *([">"] if source.endswith(">") else [])])
        found.append(SubjectMapping(source, (Destination(made),)))
    return tuple(found)


def _user(r: Random, account: Definition, subjects: list[str]) -> User:
    """One who may do less than everything."""

    def some() -> tuple[str, ...]:
        return tuple(r.choices(subjects, k=r.randint(0, 3)))

    def subscribed() -> tuple[str, ...]:
        # nats-server takes a ">" for something that a "*" at the end covers (docs/differences.md)
        return tuple(entry for entry in some() if not entry.endswith("*"))

    responds = r.random() < 0.5
    allow_publish = some() if r.random() < 0.5 else ()
    allow_subscribe = subscribed() if r.random() < 0.5 else ()
    rights = Permissions(
        allow_publish if responds else allow_publish or None,
        some(),
        (*allow_subscribe, "i.>") if allow_subscribe else None,
        subscribed(),
    )
    return User(f"{account.name}-less", account.name, rights, responds)


def local_subjects(account: Definition) -> list[str]:
    """Patterns that mean something in this account."""
    found = [e.subject for e in account.exports] + [placed_or_same(e) for e in account.imports]
    for mapping in account.mappings:
        destination = mapping.destinations[0].subject.split(".")
        found += [mapping.source, ".".join("*" if t[0] in "${" else t for t in destination)]
    return found or ["a"]


def _points(account: Definition, kind: Kind, exported: bool) -> list[str]:
    """Where messages of a kind leave the account, or come into it."""
    if exported:
        return [e.subject for e in account.exports if e.kind is kind] or local_subjects(account)
    return [placed_or_same(e) for e in account.imports if e.kind is kind] or local_subjects(account)


def placed_or_same(entry: Import) -> str:
    local = entry.to or entry.subject
    return ".".join("*" if token[0] == "$" else token for token in local.split("."))


def _chain(r: Random, accounts: dict[str, Definition]) -> None:
    """A service that is passed on: whoever imports it exports it as well."""
    names = r.sample(list(accounts), len(accounts))
    subject = r.choice(EXPORTED)
    for number, (importer, exporter) in enumerate(zip(names[1:4], names, strict=False)):
        if number == 3 or (number == 2 and r.random() < 0.5):
            return
        theirs = accounts[exporter]
        if any(e.kind is Kind.SERVICE and collide(e.subject, subject) for e in theirs.exports):
            return
        export = Export(Kind.SERVICE, subject, response_type=r.choice(KINDS))
        accounts[exporter] = theirs._replace(exports=(*theirs.exports, export))
        local = _local(r, Kind.SERVICE, subject, [])
        entry = Import(Kind.SERVICE, exporter, subject, local, share=r.random() < 0.5)
        mine = accounts[importer]
        accounts[importer] = mine._replace(imports=(*mine.imports, entry))
        subject = placed_or_same(entry)


def graphs(r: Random) -> Graph:
    """Accounts, imports and users; now and then with imports that have to be refused."""
    accounts = _accounts(r, NAMES[: r.randint(3, 6)])
    users = []
    for account in accounts.values():
        users.append(User(f"{account.name}-all", account.name))
        if r.randint(0, 2) == 2:
            users.append(_user(r, account, local_subjects(account)))
    return Graph(tuple(accounts.values()), tuple(users))


def _accounts(r: Random, names: tuple[str, ...]) -> dict[str, Definition]:
    accounts = {}
    for name in names:
        exports = _exports(r, names)
        accounts[name] = Definition(name, exports=exports, mappings=_mappings(r, exports))
    if r.random() < 0.5:
        _chain(r, accounts)
    careful = r.choice([True, True, True, True, False])
    for _ in range(r.choice([4, 6, 8])):
        importer, exporter = r.sample(names, len(names))[:2]
        made = _import(r, accounts[importer], accounts[exporter], careful)
        if made is not None:
            before = accounts[importer]
            accounts[importer] = before._replace(imports=(*before.imports, made))
            keep = r.choice([False] * 7 + [True])
            if careful and not keep and not plausible(tuple(accounts.values())):
                accounts[importer] = before
    return accounts


HEADERS = (None, None, None, b"NATS/1.0\r\nA: 1\r\n\r\n", FORGED)


def _steps(r: Random, graph: Graph, clients: tuple[tuple[User, bool, bool], ...]) -> list[Step]:
    number = r.randint(0, len(clients) - 1)
    user = clients[number][0]
    account = next(a for a in graph.accounts if a.name == user.account)
    what = r.choice(["sub", "pub", "pub", "request", "request", "request", "answer", "unsub"])
    if what == "answer":
        return [_answer(r, r.randint(0, 3), len(clients))]
    if what == "unsub":
        sid = r.choice(["1", "2", "3", "i"])
        return [(number, Unsub(sid, r.randint(0, 2) if sid == "i" else 0))]
    if what == "sub":
        return [(number, _sub(r, account, r.choice(["1", "2", "3"])))]
    kind = Kind.SERVICE if what == "request" else Kind.STREAM
    points = _points(account, kind, exported=what == "pub")
    subject = fill(r, r.choice([*points, *points, *points, *local_subjects(account)]))
    reply = r.choice(INBOXES) if what == "request" else ""
    headers = r.choice(HEADERS) if clients[number][2] else None
    publish = (number, Pub(subject, reply, r.choice(PAYLOADS), headers))
    answers = r.choice([0, 1, 1, 2, 3]) if what == "request" else 0
    return [publish, *(_answer(r, r.choice([0, 0, 1]), len(clients)) for _ in range(answers))]


def _answer(r: Random, which: int, clients: int) -> Answer:
    """Sent by who was asked, or by somebody else; now and then it asks for a reply as well."""
    return Answer(
        which,
        r.choice(PAYLOADS),
        r.choice(["", "", "", INBOXES[0]]),
        r.randrange(clients) if r.random() < 0.15 else None,
    )


def _sub(r: Random, account: Definition, sid: str) -> Sub:
    """Often to what comes into the account by an import or an export."""
    subjects = r.choice(
        [
            _points(account, Kind.SERVICE, exported=True),
            _points(account, Kind.STREAM, exported=False),
            local_subjects(account),
            ["*.*", ">", "i.>"],
        ]
    )
    subject = r.choice(subjects)
    if r.random() < 0.5:
        subject = narrow(r, subject)
    return Sub(subject, r.choice(["", "", "g", "h"]), sid)


def script(number: int) -> Script:
    """The same number always makes the same script."""
    r = Random(number)
    first = graph = graphs(r)
    clients = tuple(
        (user, r.randint(0, 4) > 0, r.randint(0, 5) > 0)
        for user in graph.users
        for _ in range(r.choice([1, 1, 2]))
    )
    steps: list[Step] = []
    for number, (user, _, _) in enumerate(clients):
        account = next(a for a in graph.accounts if a.name == user.account)
        steps.append((number, Sub("i.>", "", "i")))
        for sid in r.choice(["1", "12", "12"]):
            steps.append((number, _sub(r, account, sid)))
    for _ in range(r.choice([6, 12, 18])):
        steps.extend(_steps(r, graph, clients))
        if r.random() < 0.05:
            names = tuple(account.name for account in graph.accounts)
            later = Graph(tuple(_accounts(r, names).values()), graph.users)
            steps.append(Reload(later))
            if verdict(later.accounts) is Verdict.TAKEN:
                graph = later
    return Script(first, clients, tuple(steps))
