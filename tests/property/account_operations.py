"""What hypothesis makes of accounts: graphs of them, most of which a server has to take, and what clients do in them.

The alphabet is small on purpose: what one account imports as ``a.b`` should be what another one maps, exports or
listens to. Replies are asked for on subjects of four tokens that begin with ``i``, which no service import covers.
"""

from dataclasses import dataclass

from hypothesis import strategies as st
from tests.property.account_model import Graph, Pub, Sub, Unsub, User
from tests.property.account_rules import collide, plausible
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

PASSWORD = "p"
NAMES = ("A", "B", "C", "D", "E", "F")
EXPORTED = ("a", "b", "a.b", "a.*", "b.>", "*.c", "*.*", "a.*.*", "c.*", "*.b.*", "a.b.>")
INBOXES = ("i.i.i.1", "i.i.i.2", "i.i.i.3")
FORGED = b'NATS/1.0\r\nNats-Request-Info: {"acc":"EVIL"}\r\n\r\n'

tokens = st.sampled_from(["a", "b", "c"])


@dataclass(frozen=True)
class Answer:
    """A reply to one of the requests that somebody has got; ``which`` counts from the last one."""

    which: int
    payload: bytes
    reply: str = ""
    elsewhere: int | None = None  # the client that sends it, if not the one that was asked


Step = tuple[int, Sub | Unsub | Pub] | Answer


@dataclass(frozen=True)
class Script:
    graph: Graph
    clients: tuple[tuple[User, bool, bool], ...]  # user, echo, headers
    steps: tuple[Step, ...]


def fill(draw: st.DrawFn, pattern: str) -> str:
    """A subject that ``pattern`` matches."""
    made = []
    for token in pattern.split("."):
        if token == ">":
            made.extend(draw(st.lists(tokens, min_size=1, max_size=2)))
        else:
            made.append(draw(tokens) if token == "*" else token)
    return ".".join(made)


def narrow(draw: st.DrawFn, pattern: str) -> str:
    """A pattern that ``pattern`` covers, often itself."""
    if draw(st.booleans()):
        return pattern
    made = []
    for token in pattern.split("."):
        if token == ">":
            made.extend(draw(st.sampled_from([[">"], ["a"], ["*"], ["b", ">"]])))
        else:
            made.append(draw(st.sampled_from(["*", "a", "b", "c"])) if token == "*" else token)
    return ".".join(made)


def _local(draw: st.DrawFn, kind: Kind, subject: str, others: list[str]) -> str:
    """What an import is called at home: empty for the same, behind a prefix, or with its wildcards moved."""
    theirs = subject.split(".")
    way = draw(st.sampled_from(["same", "prefix", "moved", "moved", "exported", "exported", "exported"]))
    if way == "prefix":
        return f"{draw(tokens)}.{subject}"
    if way == "exported":  # what comes in by one door goes out by another
        fitting = [
            o for o in others if [t for t in o.split(".") if t in "*>"] == [t for t in theirs if t in "*>"]
        ]
        return draw(st.sampled_from(fitting)) if fitting else ""
    if way == "same":
        return ""
    wildcards = theirs.count("*")
    if not {"*", ">"} & set(theirs):
        if kind is Kind.SERVICE and draw(st.integers(0, 3)) == 3:
            return draw(st.sampled_from(["b.*", "c.*.a"]))  # many subjects for one service
        return ".".join(draw(st.lists(tokens, min_size=1, max_size=3)))
    marks = [f"${number}" for number in range(1, wildcards + 1)]
    marks = draw(st.permutations(marks)) if draw(st.booleans()) else ["*"] * wildcards
    plain = draw(st.lists(tokens, min_size=0 if wildcards else 1, max_size=2))
    mixed = draw(st.permutations([*marks, *plain])) if "*" not in marks else [*plain, *marks]
    return ".".join([*mixed, *([">"] if theirs[-1] == ">" else [])])


@st.composite
def _exports(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[Export, ...]:
    found: list[Export] = []
    for _ in range(draw(st.sampled_from([1, 2, 3]))):
        kind = draw(st.sampled_from(list(Kind)))
        subject = draw(st.sampled_from(EXPORTED))
        clash = [e for e in found if e.kind is kind and collide(e.subject, subject)]
        if clash and draw(st.integers(0, 5)):
            continue
        if any(e.subject == subject for e in clash):
            continue
        access = draw(st.sampled_from(["public", "public", "list", "position"]))
        wild = [at + 1 for at, token in enumerate(subject.split(".")) if token == "*"]
        found.append(
            Export(
                kind,
                subject,
                accounts=frozenset(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)))
                if access == "list"
                else None,
                token_position=draw(st.sampled_from(wild)) if access == "position" and wild else 0,
                response_type=draw(st.sampled_from(list(ResponseType)))
                if kind is Kind.SERVICE
                else ResponseType.SINGLETON,
            )
        )
    return tuple(found)


def _import(draw: st.DrawFn, importer: Definition, exporter: Definition, careful: bool) -> Import | None:
    fitting = [
        e for e in exporter.exports if not careful or e.accounts is None or importer.name in e.accounts
    ]
    if not fitting:
        return None
    export = draw(st.sampled_from(fitting))
    subject = narrow(draw, export.subject)
    if not careful and draw(st.booleans()):
        subject = draw(st.sampled_from(EXPORTED))
    if export.token_position and careful:
        parts = export.subject.split(".")
        parts[export.token_position - 1] = importer.name
        subject = narrow(draw, ".".join(parts))
    local = _local(draw, export.kind, subject, [e.subject for e in importer.exports if e.kind is export.kind])
    # nats-server finds the import that is to share by the exporter's subject, which should be there once then
    again = [e for e in importer.imports if (e.account, e.subject) == (exporter.name, subject)]
    if any(e.share for e in again):
        return None
    share = export.kind is Kind.SERVICE and not again and draw(st.booleans())
    return Import(export.kind, exporter.name, subject, local, share=share)


@st.composite
def _mappings(draw: st.DrawFn, exports: tuple[Export, ...]) -> tuple[SubjectMapping, ...]:
    """Sources that do not overlap: which of two would be taken is not said."""
    found: list[SubjectMapping] = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        source = draw(
            st.sampled_from(["a", "a.*", "b.*", "c.>", "a.b.*", "i.i.i.*", *(e.subject for e in exports)])
        )
        if source.startswith("*") or any(collide(source, m.source) for m in found):
            continue
        marks = [f"${n + 1}" for n in range(source.split(".").count("*"))]
        fixed = draw(st.lists(tokens, min_size=1, max_size=2))
        if source.startswith("i"):
            fixed, marks = ["i", "i", "i"], ["$1"] if draw(st.booleans()) else ["2"]
        elif marks and draw(st.booleans()):
            marks = ["{{partition(2,1)}}"]
        elif not marks and draw(st.integers(0, 2)) == 2 and source[-1] != ">":
            marks = ["{{partition(3)}}"]
        made = ".".join([*fixed, *marks, *([">"] if source.endswith(">") else [])])
        found.append(SubjectMapping(source, (Destination(made),)))
    return tuple(found)


@st.composite
def _user(draw: st.DrawFn, account: Definition, subjects: list[str]) -> User:
    """One who may do less than everything."""
    some = st.lists(st.sampled_from(subjects), max_size=3).map(tuple)
    allow_publish = draw(st.none() | some)
    responds = draw(st.booleans())
    allow_publish = (allow_publish or ()) if responds else allow_publish or None
    # nats-server takes a ">" for something that a "*" at the end covers (docs/differences.md)
    subscribed = some.map(lambda s: tuple(e for e in s if not e.endswith("*")))
    allowed = draw(st.none() | subscribed)
    return User(
        f"{account.name}-less",
        account.name,
        Permissions(allow_publish, draw(some), (*allowed, "i.>") if allowed else None, draw(subscribed)),
        responds,
    )


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


def _chain(draw: st.DrawFn, accounts: dict[str, Definition]) -> None:
    """A service that is passed on: whoever imports it exports it as well."""
    names = draw(st.permutations(list(accounts)))
    kinds = st.sampled_from(list(ResponseType))
    subject = draw(st.sampled_from(EXPORTED))
    for number, (importer, exporter) in enumerate(zip(names[1:4], names, strict=False)):
        if number == 3 or (number == 2 and draw(st.booleans())):
            return
        theirs = accounts[exporter]
        if any(e.kind is Kind.SERVICE and collide(e.subject, subject) for e in theirs.exports):
            return
        export = Export(Kind.SERVICE, subject, response_type=draw(kinds))
        accounts[exporter] = theirs._replace(exports=(*theirs.exports, export))
        local = _local(draw, Kind.SERVICE, subject, [])
        entry = Import(Kind.SERVICE, exporter, subject, local, share=draw(st.booleans()))
        mine = accounts[importer]
        accounts[importer] = mine._replace(imports=(*mine.imports, entry))
        subject = placed_or_same(entry)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Accounts, imports and users; now and then with imports that have to be refused."""
    names = NAMES[: draw(st.integers(3, 6))]
    accounts = {}
    for name in names:
        exports = draw(_exports(names))
        accounts[name] = Definition(name, exports=exports, mappings=draw(_mappings(exports)))
    if draw(st.booleans()):
        _chain(draw, accounts)
    careful = draw(st.sampled_from([True, True, True, True, False]))
    for _ in range(draw(st.sampled_from([4, 6, 8]))):
        importer, exporter = draw(st.permutations(names))[:2]
        made = _import(draw, accounts[importer], accounts[exporter], careful)
        if made is not None:
            before = accounts[importer]
            accounts[importer] = before._replace(imports=(*before.imports, made))
            keep = draw(st.sampled_from([False] * 7 + [True]))
            if careful and not keep and not plausible(tuple(accounts.values())):
                accounts[importer] = before
    users = []
    for account in accounts.values():
        users.append(User(f"{account.name}-all", account.name))
        if draw(st.integers(0, 2)) == 2:
            users.append(draw(_user(account, local_subjects(account))))
    return Graph(tuple(accounts.values()), tuple(users))


payloads = st.sampled_from([b"m", b"m", b"m", b""])
header_blocks = st.sampled_from([None, None, None, b"NATS/1.0\r\nA: 1\r\n\r\n", FORGED])


def _steps(draw: st.DrawFn, graph: Graph, clients: tuple[tuple[User, bool, bool], ...]) -> list[Step]:
    number = draw(st.integers(0, len(clients) - 1))
    user = clients[number][0]
    account = next(a for a in graph.accounts if a.name == user.account)
    what = draw(st.sampled_from(["sub", "pub", "pub", "request", "request", "request", "answer", "unsub"]))
    if what == "answer":
        return [_answer(draw, draw(st.integers(0, 3)), number)]
    if what == "unsub":
        sid = draw(st.sampled_from(["1", "2", "3", "i"]))
        return [(number, Unsub(sid, draw(st.integers(0, 2)) if sid == "i" else 0))]
    if what == "sub":
        return [(number, _sub(draw, user, account, draw(st.sampled_from(["1", "2", "3"]))))]
    kind = Kind.SERVICE if what == "request" else Kind.STREAM
    points = _points(account, kind, exported=what == "pub")
    subject = fill(draw, draw(st.sampled_from([*points, *points, *points, *local_subjects(account)])))
    reply = draw(st.sampled_from(INBOXES)) if what == "request" else ""
    headers = draw(header_blocks) if clients[number][2] else None
    publish = (number, Pub(subject, reply, draw(payloads), headers))
    answers = draw(st.sampled_from([0, 1, 1, 2, 3])) if what == "request" else 0
    return [publish, *(_answer(draw, draw(st.sampled_from([0, 0, 1])), number) for _ in range(answers))]


def _answer(draw: st.DrawFn, which: int, number: int) -> Answer:
    """Sent by who was asked, or by somebody else; now and then it asks for a reply as well."""
    return Answer(
        which,
        draw(payloads),
        draw(st.sampled_from(["", "", "", INBOXES[0]])),
        draw(st.sampled_from([None] * 5 + [number])),
    )


def _sub(draw: st.DrawFn, user: User, account: Definition, sid: str) -> Sub:
    """For queue groups nats-server looks up what is denied under the exporter's subject; nobody should have both."""
    subjects = draw(
        st.sampled_from(
            [
                _points(account, Kind.SERVICE, exported=True),
                _points(account, Kind.STREAM, exported=False),
                local_subjects(account),
                ["*.*", ">", "i.>"],
            ]
        )
    )
    subject = draw(st.sampled_from(subjects))
    if draw(st.booleans()):
        subject = narrow(draw, subject)
    queue = "" if user.permissions.subscribe_deny else draw(st.sampled_from(["", "", "g", "h"]))
    return Sub(subject, queue, sid)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    graph = draw(graphs())
    clients = tuple(
        (user, draw(st.integers(0, 4)) > 0, draw(st.integers(0, 5)) > 0)
        for user in graph.users
        for _ in range(draw(st.sampled_from([1, 1, 2])))
    )
    steps: list[Step] = []
    for number, (user, _, _) in enumerate(clients):
        account = next(a for a in graph.accounts if a.name == user.account)
        steps.append((number, Sub("i.>", "", "i")))
        for sid in draw(st.sampled_from(["1", "12", "12"])):
            steps.append((number, _sub(draw, user, account, sid)))
    for _ in range(draw(st.sampled_from([6, 12, 18]))):
        steps.extend(_steps(draw, graph, clients))
    return Script(graph, clients, tuple(steps))


def _array(subjects: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"


def config_for(graph: Graph) -> str:
    """The configuration file of a graph."""
    blocks = []
    for account in graph.accounts:
        users = "\n".join(f"    {_user_text(user)}" for user in graph.users if user.account == account.name)
        exports = "\n".join(f"    {_export_text(export)}" for export in account.exports)
        imports = "\n".join(f"    {_import_text(entry)}" for entry in account.imports)
        mappings = "\n".join(f'    "{m.source}": "{m.destinations[0].subject}"' for m in account.mappings)
        blocks.append(
            f"  {account.name} {{\n    users: [\n{users}\n    ]\n    exports: [\n{exports}\n    ]\n"
            f"    imports: [\n{imports}\n    ]\n    mappings: {{\n{mappings}\n    }}\n  }}"
        )
    return "accounts {\n" + "\n".join(blocks) + "\n}\n"


def _user_text(user: User) -> str:
    rights = user.permissions
    parts = []
    for what, allow, deny in (
        ("publish", rights.publish_allow, rights.publish_deny),
        ("subscribe", rights.subscribe_allow, rights.subscribe_deny),
    ):
        allowed = f"allow: {_array(allow)}, " if allow else ""
        if allow or deny:
            parts.append(f"{what}: {{ {allowed}deny: {_array(deny)} }}")
    if user.responds:
        parts.append("allow_responses: true")
    block = f", permissions: {{ {', '.join(parts)} }}" if parts else ""
    return f'{{ user: "{user.name}", password: {PASSWORD}{block} }}'


def _export_text(export: Export) -> str:
    parts = [f'{export.kind.value}: "{export.subject}"']
    if export.accounts is not None:
        parts.append(f"accounts: {_array(tuple(sorted(export.accounts)))}")
    if export.token_position:
        parts.append(f"account_token_position: {export.token_position}")
    if export.response_type is not ResponseType.SINGLETON:
        parts.append(f'response_type: "{export.response_type.value}"')
    return "{ " + ", ".join(parts) + " }"


def _import_text(entry: Import) -> str:
    parts = [f'{entry.kind.value}: {{ account: "{entry.account}", subject: "{entry.subject}" }}']
    prefix = entry.to.removesuffix(f".{entry.subject}")
    if entry.kind is Kind.STREAM and entry.to and prefix != entry.to and len(entry.subject) % 2:
        parts.append(f'prefix: "{prefix}"')  # two ways of saying the same
    elif entry.to:
        parts.append(f'to: "{entry.to}"')
    if entry.share:
        parts.append("share: true")
    return "{ " + ", ".join(parts) + " }"
