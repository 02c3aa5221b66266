"""Flags as nats-server takes them: the rules of Go's ``flag`` package over the declared options.

One dash or two, ``-name value`` or ``-name=value``; a bool takes a value only behind ``=``; parsing ends at
the first word that is no flag. click cannot do this, so a command hands its words here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from phloem.shared.errors import ConfigError
from phloem.shared.server.declare import Declared, Kind, walk
from phloem.shared.server.options import Options
from phloem.shared.server.unsupported import UNSUPPORTED_FLAGS, UnsupportedFlag

Path = tuple[str, ...]

_BOOLS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True)
_BOOLS |= dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)
_TRACING: dict[str, tuple[Path, ...]] = {
    "VV": (("trace",), ("trace_verbose",)),
    "DV": (("debug",), ("trace",)),
    "DVV": (("debug",), ("trace",), ("trace_verbose",)),
}
_ASKS = {
    "h": "help",
    "help": "help",
    "v": "version",
    "version": "version",
    "help_tls": "help_tls",
    "t": "test",
}
_TAKES = {"c": "config", "config": "config", "sl": "signal", "signal": "signal"}
_TLS = {"tls": bool, "tlsverify": bool, "tlscert": str, "tlskey": str, "tlscacert": str}
OPTION_FLAGS: dict[str, tuple[Path, Declared]] = {
    name: (path, option) for path, option in walk(Options) for name in option.opt.flags.split()
}
MISSING_FLAGS: dict[str, UnsupportedFlag] = {
    name: flag for flag in UNSUPPORTED_FLAGS for name in flag.names.split()
}


class UsageError(ConfigError):
    """Words that are no flags of the command; nats-server shows its usage and ends with 0."""


class Flags(NamedTuple):
    """What the command line says. ``values`` is by path of field names in ``Options``."""

    values: dict[Path, Any]
    asks: frozenset[str]  # of help, version, help_tls, test
    config: str
    signal: str
    missing: tuple[tuple[str, str], ...]  # flag as written and the feature it would need
    words: tuple[str, ...]
    tls: dict[str, Any]  # --tls and its kind, which make a whole block


def parse_flags(args: Sequence[str]) -> Flags:
    """Read the words behind the command.

    Raises:
        UsageError: With the text that Go's flag package has for it.
    """
    values: dict[Path, Any] = {}
    asks: dict[str, bool] = {}
    texts = {"config": "", "signal": ""}
    missing: list[tuple[str, str]] = []
    tls: dict[str, Any] = {}
    rest = list(args)
    while rest:
        split = _split(rest)
        if split is None:
            break
        name, inline = split
        if name in _ASKS:
            asks[_ASKS[name]] = _bool(name, inline)
        elif name in _TAKES:
            texts[_TAKES[name]] = _argument(name, inline, rest)
        elif name in _TLS:
            tls[name] = _bool(name, inline) if _TLS[name] is bool else _argument(name, inline, rest)
        elif name in _TRACING:
            values |= dict.fromkeys(_TRACING[name], _bool(name, inline))
        elif name in OPTION_FLAGS:
            path, option = OPTION_FLAGS[name]
            values[path] = _option(name, inline, rest, option)
        elif name in MISSING_FLAGS:
            if _wanted(name, inline, rest, MISSING_FLAGS[name]):
                missing.append((f"-{name}", MISSING_FLAGS[name].feature))
        else:
            raise UsageError(f"flag provided but not defined: -{name}")
    on = frozenset(ask for ask, wanted in asks.items() if wanted)
    return Flags(values, on, texts["config"], texts["signal"], tuple(missing), tuple(rest), tls)


def _split(rest: list[str]) -> tuple[str, str | None] | None:
    """Take the next flag: its name and what stands behind ``=``. None: what is left are words."""
    word = rest[0]
    if len(word) < 2 or not word.startswith("-"):
        return None
    rest.pop(0)
    if word == "--":
        return None
    name, equals, inline = word.removeprefix("-").removeprefix("-").partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {word}")
    return name, inline if equals else None


def _bool(name: str, inline: str | None) -> bool:
    if inline is None:
        return True
    if inline not in _BOOLS:
        raise UsageError(f'invalid boolean value "{inline}" for -{name}: parse error')
    return _BOOLS[inline]


def _argument(name: str, inline: str | None, rest: list[str]) -> str:
    if inline is not None:
        return inline
    if not rest:
        raise UsageError(f"flag needs an argument: -{name}")
    return rest.pop(0)


def _option(name: str, inline: str | None, rest: list[str], option: Declared) -> Any:
    if option.kind is Kind.BOOL:
        return _bool(name, inline)
    if option.kind is Kind.SWITCHED:
        assert option.struct is not None
        return option.struct() if _bool(name, inline) else None
    text = _argument(name, inline, rest)
    if option.kind in (Kind.INT, Kind.SIZE):
        try:
            return int(text, 0)
        except ValueError:
            raise UsageError(f'invalid value "{text}" for flag -{name}: parse error') from None
    if option.kind is Kind.CHOICE and text not in option.opt.choices.split():
        choices = ", ".join(option.opt.choices.split())
        raise UsageError(f'invalid value "{text}" for flag -{name}: must be one of {choices}')
    return text


def _wanted(name: str, inline: str | None, rest: list[str], flag: UnsupportedFlag) -> bool:
    """Whether a flag for a missing feature asks for it; ``-js=false`` and ``--profile 0`` do not."""
    if not flag.takes_value:
        return _bool(name, inline)
    return _argument(name, inline, rest) not in ("", "0")
