"""What ``phloem server`` does with its words, and commands that run the same server with a profile.

Words, exit codes and texts are nats-server's, so that scripts made for it work: a flag that does not exist
shows the usage and ends with 0; what cannot be used is one line on stderr and 1.

click is not imported here: a server that runs for years would carry it along (see ``lean.py``).
"""

import os.path
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import phloem
from phloem.shared.errors import ConfigError
from phloem.shared.server import lean, load_tls
from phloem.shared.server.flags import Flags, UsageError, parse_flags
from phloem.shared.server.load import Loaded, load, merge
from phloem.shared.server.options import Options
from phloem.shared.server.signals import send_signal
from phloem.shared.server.usage import usage
from phloem.shared.server.validation import validate

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

NATS_VERSION = "2.15.1"  # the nats-server whose behaviour this is
NO_FILE_TO_RELOAD = "can only reload config when a file is provided using -c or --config"

Adjust = Callable[[Options], Options]
Make = Callable[[Options], "Server"]


class Product(NamedTuple):
    """What makes one command ``phloem <name>`` different from another; all have the server's flags.

    ``adjust`` applies a product's profile to options made of defaults, file and flags; what the user set
    himself is named in ``Options.explicit`` and should stay. It runs again on every reload. ``make`` builds
    the product's server from its options, ``lesson`` is printed below the usage.
    """

    name: str
    about: str
    adjust: Adjust
    make: Make | None = None
    lesson: str = ""

    @property
    def program(self) -> str:
        """How messages and usage call the program: as the user did."""
        called = os.path.basename(sys.argv[0])
        return called if called == "nats-server" and self.name == "server" else f"phloem {self.name}"

    @property
    def usage(self) -> str:
        """What ``--help`` prints."""
        text = usage(self.program, self.about)
        return f"{text}\n{self.lesson}" if self.lesson else text


def execute(product: Product, args: Sequence[str]) -> int:
    """Do what the words ask for; the exit code."""
    called = product.program
    try:
        flags = parse_flags(args)
    except UsageError as error:
        print(error, file=sys.stderr)
        print(product.usage)
        return 0
    ask = _asked(flags)
    if ask == "version":
        print(_version(called))
        return 0
    if ask == "help":
        print(product.usage)
        return 0
    if ask == "help_tls":
        print(load_tls.usage(), end="")
        return 0
    try:
        return _act(product, flags)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"{called}: {line}", file=sys.stderr)
        return 1


def run(options: Options, reload_source: Callable[[], Options], make: Make | None) -> int:
    """Run a server until it ends; the exit code. The server is imported here, after the flags are right."""
    if not options.https_port:
        lean.asyncio_without_ssl()
    from phloem.shared.server.run import serve  # noqa: PLC0415  (keeps --help and -t quick)

    return serve(options, reload_source, make) if make else serve(options, reload_source)


def _asked(flags: Flags) -> str:
    """help or version, asked for by a flag or by the first word."""
    for ask in ("version", "help", "help_tls"):
        if ask in flags.asks:
            return ask
    word = flags.words[0].lower() if flags.words else ""
    return word if word in ("version", "help") else ""


def _version(called: str) -> str:
    if called == "nats-server":
        return f"nats-server: v{NATS_VERSION}"
    return f"phloem: v{phloem.__version__} (speaks NATS {NATS_VERSION})"


def _act(product: Product, flags: Flags) -> int:
    for flag, feature in flags.missing:
        raise ConfigError(f"{flag}: {feature} is not in phloem {phloem.__version__} yet")
    if flags.words:
        raise ConfigError(f'unrecognized command: "{flags.words[0]}"')
    if flags.signal:
        send_signal(flags.signal, product.name)
        return 0
    if "test" in flags.asks:
        return _check_file(product, flags.config)
    loaded = load(flags.config) if flags.config else None
    for warning in loaded.warnings if loaded else ():
        print(f"{product.program}: {warning}", file=sys.stderr)
    options = _finish(loaded, flags, product.adjust)

    def reload_source() -> Options:
        if not flags.config:
            raise ConfigError(NO_FILE_TO_RELOAD)
        return _finish(load(flags.config), flags, product.adjust)

    return run(options, reload_source, product.make)


def _finish(loaded: Loaded | None, flags: Flags, adjust: Adjust) -> Options:
    options = adjust(load_tls.override(merge(loaded, flags.values), flags.tls))
    validate(options)
    return options


def _check_file(product: Product, path: str) -> int:
    """``-t``: like nats-server, a warning counts as a mistake, and rules between options do not count.

    What the product itself refuses does count.
    """
    if not path:
        raise ConfigError("must specify [-c, --config] option to check configuration file syntax")
    loaded = load(path)
    if loaded.warnings:
        raise ConfigError("\n".join(loaded.warnings))
    product.adjust(merge(loaded, {}))
    for notice in loaded.notices:
        print(f"{product.program}: {notice}", file=sys.stderr)
    print(f"{product.program}: configuration file {path} is valid ({loaded.digest})", file=sys.stderr)
    return 0


def _unchanged(options: Options) -> Options:
    return options


SERVER = Product(
    "server",
    "Run a message broker that speaks NATS. It takes nats-server's flags and configuration files.",
    _unchanged,
)
