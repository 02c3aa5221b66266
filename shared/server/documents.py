"""The documents that come from the declarations: docs/configuration.md and docs/phloem.conf.example.

``python -m phloem.shared.server.documents docs`` writes both; a test compares them with what this gives.
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from phloem.shared.server.declare import Declared, Kind, declared
from phloem.shared.server.durations import short_duration
from phloem.shared.server.no_effect import NO_EFFECT
from phloem.shared.server.options import Options
from phloem.shared.server.options_accounts import Export, Import
from phloem.shared.server.options_auth import Account, Authorization, User
from phloem.shared.server.options_leafnodes import LeafAuthorization, LeafNodes, Remote
from phloem.shared.server.unsupported import UNSUPPORTED

# Shown, but not to be switched on together with the rest of their block.
ALTERNATIVES: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Options: (
        *("operators", "trusted_keys", "resolver", "resolver_tls", "resolver_preload"),
        "resolver_pinned_accounts",
        *("default_sentinel", "no_system_account", "proxies"),
        *("tls", "https_port"),  # their files are not there, and http_port is shown
    ),
    LeafNodes: ("tls",),
    Authorization: ("user", "password", "token", "auth_callout"),
    User: ("nkey",),
    Account: ("nkey", "imports"),
    Export: ("service", "response_type", "response_threshold_ns", "latency", "allow_trace", "accounts"),
    Import: ("service", "prefix", "share"),
    LeafAuthorization: ("user", "password", "nkey"),
    Remote: ("nkey", "tls"),
}
SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))
TAILS = {
    Kind.BLOCK: "",
    Kind.SWITCHED: "",
    Kind.RESOLVER: "",
    Kind.BLOCKS: "[]",
    Kind.NAMED_BLOCKS: ".NAME",
    Kind.ACCOUNTS: ".NAME",
}
EXAMPLE_NAMES = {Kind.NAMED_BLOCKS: "bench", Kind.ACCOUNTS: "PLANT"}
WIDTH = 100

TABLE_HEAD = """\
# Configuration

Files are nats-server's: the same grammar, the same keys. A key may be followed by `:`, `=` or a space;
`#` and `//` begin comments; `include ./other.conf` reads another file in place; `$NAME` is the value of the
key `NAME` above, or of the environment variable. Durations are strings such as `"2m"` and `300ms`, sizes
are numbers such as `64MB`. Flags win over the file, the file wins over the defaults. `phloem server -t -c
FILE` says whether a file is right.

Options marked *reload* take effect on `phloem server --signal reload`; the others need a restart.

This page and [phloem.conf.example](phloem.conf.example) are generated from `shared/server/options.py`
and what it imports.
"""
EXAMPLE_HEAD = """\
# Every option of phloem, switched off, with its default or an example.
# To set one, remove the "#" that stands directly before it and before the lines of its block.
# Grammar and keys are nats-server's; docs/configuration.md lists aliases and flags.
"""
NO_EFFECT_HEAD = """\
## Without effect

These keys of nats-server are read and checked as nats-server does it. They have no effect here, and the log says so
when the server starts and when the file is read again.

| key | why |
|---|---|
"""
MISSING_HEAD = """\
## Not in phloem yet

These keys of nats-server are known and refused, except with values that mean that they are not used:
`false`, `0`, `""`, empty blocks, listeners with port 0.
"""


def configuration_page() -> str:
    """All options as tables, and the keys of nats-server that are missing."""
    parts = [TABLE_HEAD]
    first: dict[type[msgspec.Struct], str] = {}  # where a block was shown already
    for title, struct in _blocks("", Options):
        shown_at = first.setdefault(struct, title)
        parts.append(_table(title, struct) if shown_at == title else f"## {title}\n\nAs `{shown_at}`.\n")
    parts.append(NO_EFFECT_HEAD + "".join(_no_effect_rows()))
    parts.append(MISSING_HEAD)
    for title, struct in _blocks("", Options):
        keys = sorted(f"`{row.keys.split()[0]}`" for row in UNSUPPORTED.get(struct, ()))
        if keys:
            parts.append(textwrap.fill(f"* {title}: {', '.join(keys)}", WIDTH, subsequent_indent="  ") + "\n")
    return "\n".join(parts)


def _no_effect_rows() -> Iterator[str]:
    for title, struct in _blocks("", Options):
        for row in NO_EFFECT.get(struct, ()):
            yield f"| `{title} {{ {row.key} }}` | {row.reason} |\n"


def example_file() -> str:
    """Every option with its meaning, commented out."""
    return EXAMPLE_HEAD + "\n" + "\n".join(_example(Options, "")).rstrip("\n") + "\n"


def shown(option: Declared, value: Any) -> str:
    """A value as one would write it in a file."""
    match option.kind:
        case Kind.BOOL:
            return "true" if value else "false"
        case Kind.DURATION | Kind.SECONDS | Kind.THRESHOLD | Kind.DURATION_TEXT:
            return f'"{short_duration(value)}"'
        case Kind.SYNC:
            return f'"{short_duration(value)}"' if value else '"always"'
        case Kind.SIZE:
            return next(
                (f"{value // unit}{name}" for unit, name in SIZES if value and value % unit == 0), str(value)
            )
        case Kind.COMPRESSION:
            return str(value.mode)
        case Kind.FILE_MODE:
            return f'"0{value:o}"'
        case Kind.STRINGS | Kind.ARRAY | Kind.SUBJECTS | Kind.URLS | Kind.CONNECTION_TYPES:
            return json.dumps(list(value or ()))
        case Kind.SETTINGS | Kind.STRING_MAP | Kind.FLAGS | Kind.PRELOAD | Kind.MAPPINGS:
            return "{}"
        case Kind.SETTINGS_LIST:
            return "[]"
        case Kind.RESPONSE_TYPE:
            return str(value.value).lower()
        case Kind.OPERATORS:
            return "[]"
        case Kind.CHOICE:
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _blocks(title: str, struct: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """A struct and the blocks in it, with how one writes the way there."""
    yield title or "Top level", struct
    for option in declared(struct):
        if option.struct and option.kind in TAILS:
            tail = TAILS[option.kind]
            yield from _blocks(f"{title}.{option.key}{tail}".lstrip("."), option.struct)


def _table(title: str, struct: type[msgspec.Struct]) -> str:
    lines = [f"## {title}\n", "| key | type | default | flags | |", "|---|---|---|---|---|"]
    for key, (_, port) in getattr(struct, "ADDRESSES", {}).items():
        lines.append(f"| `{key}` | port or host:port | | | Address and `{port}` in one. |")
    moved: dict[tuple[str, str], list[str]] = {}
    for key, path in getattr(struct, "INSIDE", {}).items():
        moved.setdefault(path, []).append(f"`{key}`")
    for path, keys in moved.items():
        lines.append(
            f"| {', '.join(keys)} | string | | | The same as `{'.'.join(path)}`; in one place only. |"
        )
    for option in declared(struct):
        if option.keys:
            lines.append(_table_row(option))
    return "\n".join(lines) + "\n"


def _table_row(option: Declared) -> str:
    aliases = "".join(f", `{alias}`" for alias in option.keys[1:])
    flags = ", ".join(f"`{'-' if len(flag) < 3 else '--'}{flag}`" for flag in option.opt.flags.split())
    structured = option.kind is not Kind.COMPRESSION and (option.struct or option.default is None)
    default = "" if structured else f"`{shown(option, option.default)}`"
    kind = ", ".join(option.opt.choices.split()) if option.kind is Kind.CHOICE else option.kind.value
    doc = option.opt.doc.replace("<", "&lt;") + (" *reload*" if option.opt.reload else "")
    return f"| `{option.key}`{aliases} | {kind} | {default} | {flags} | {doc} |"


def _example(struct: type[msgspec.Struct], indent: str) -> Iterator[str]:
    """The lines of one block; "#" directly before text is an option, "# " prose."""
    for option in declared(struct):
        if not option.keys:
            continue
        yield f"{indent}# {option.opt.doc}"
        mark = "# " if option.field in ALTERNATIVES.get(struct, ()) else "#"
        if option.opt.example:  # a block, too, if its keys are shown elsewhere
            yield f"{indent}{mark}{option.key}: {option.opt.example}"
        elif option.kind in (Kind.BLOCK, Kind.SWITCHED) and option.struct:
            yield f"{indent}{mark}{option.key} {{"
            yield from _example(option.struct, indent + "  ")
            yield f"{indent}{mark}}}"
        elif option.kind is Kind.BLOCKS and option.struct:
            yield f"{indent}{mark}{option.key}: ["
            yield f"{indent}  {mark}{{"
            yield from _example(option.struct, indent + "    ")
            yield f"{indent}  {mark}}}"
            yield f"{indent}{mark}]"
        elif option.kind in EXAMPLE_NAMES and option.struct:
            yield f"{indent}{mark}{option.key} {{"
            yield f"{indent}  {mark}{EXAMPLE_NAMES[option.kind]} {{"
            yield from _example(option.struct, indent + "    ")
            yield f"{indent}  {mark}}}"
            yield f"{indent}{mark}}}"
        else:
            yield f"{indent}{mark}{option.key}: {shown(option, option.default)}"
        if not indent:
            yield ""


def main(folder: str) -> None:
    """Write both documents into a folder."""
    Path(folder, "configuration.md").write_text(configuration_page())
    Path(folder, "phloem.conf.example").write_text(example_file())


if __name__ == "__main__":
    main(sys.argv[1])
