"""What a new version does with a copy of the store before it gets the store: a broker with this device's configuration
opens it, writes to it, answers, and closes it. Nothing of it can be reached from elsewhere, and it reaches nobody.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from phloem.edge.profile import for_device
from phloem.edge.upgrade.machine import UpgradeError
from phloem.shared.errors import PhloemError
from phloem.shared.server.load import load, merge
from phloem.shared.server.options import Options
from phloem.shared.server.options_leafnodes import LeafNodes
from phloem.shared.server.options_tls import TLS
from phloem.shared.server.options_trust import Resolver
from phloem.shared.server.server import Server
from phloem.shared.server.store_keys import keys_of
from phloem.shared.store.check import check
from phloem.shared.store.survey import Survey

NOTE = b"upgrade/rehearsal"
LOOPBACK = "127.0.0.1"

Make = Callable[[Options], Server]


def alone(options: Options, store_dir: Path) -> Options:
    """The same streams and accounts, without links, ports, devices and files outside of the copy. Raises UpgradeError:
    there are no streams, or they cannot be had so."""
    if options.jetstream is None:
        raise UpgradeError(f"{options.config_file} has no jetstream, so there is no store to rehearse with")
    return msgspec.structs.replace(
        for_device(options),
        tls=_told_of(options.tls),
        resolver=_with_tokens(options.resolver, store_dir / "jwt"),
        host=LOOPBACK,
        port=-1,
        http_port=0,
        https_port=0,
        pid_file="",
        ports_file_dir="",
        log_file="",
        leafnodes=LeafNodes(),
        serial=(),
        bridge_mqtt=(),
        forward=(),
        twin=None,
        phloem=msgspec.structs.replace(options.phloem, unix_socket=""),
        jetstream=msgspec.structs.replace(options.jetstream, store_dir=str(store_dir)),
    )


def _told_of(tls: TLS | None) -> TLS | None:
    """INFO comes before the handshake."""
    return tls and msgspec.structs.replace(tls, handshake_first=False, fallback_ns=0)


def _with_tokens(resolver: Resolver | None, folder: Path) -> Resolver | None:
    """A folder of JWTs is a copy as well: whoever opens it may delete what has expired. Raises UpgradeError."""
    if resolver is None or not resolver.dir:
        return resolver
    try:
        shutil.rmtree(folder, ignore_errors=True)
        if Path(resolver.dir).is_dir():
            shutil.copytree(resolver.dir, folder)
    except (OSError, shutil.Error) as error:
        raise UpgradeError(f"{resolver.dir} cannot be copied to {folder}: {error}") from error
    return msgspec.structs.replace(resolver, dir=str(folder))


def rehearse(store_dir: Path, config: str, make: Make = Server) -> Survey:
    """All of it; what is in the store afterwards. Raises UpgradeError with what was not right."""
    try:
        options = alone(merge(load(config), {}), store_dir)
        asyncio.run(_serve(make(options)))
        found = check(store_dir / "jetstream" / "phloem", lambda *_: None, keys_of(options))
    except (PhloemError, OSError) as error:
        raise UpgradeError(str(error)) from error
    if found.findings:
        raise UpgradeError("; ".join(str(finding) for finding in found.findings[:5]))
    return found


async def _serve(server: Server) -> None:
    logging.getLogger("phloem").setLevel(logging.WARNING)
    await server.start()
    try:
        js = server.jetstream
        if js is None or not server.ready:
            raise UpgradeError("it opened no store")
        if js.damage:
            raise UpgradeError("; ".join(js.damage[:5]))
        js.store.put(NOTE, b"1")
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        try:
            if not (await reader.readline()).startswith(b"INFO "):
                raise UpgradeError("it does not greet")
        finally:
            writer.close()
            await writer.wait_closed()
    finally:
        await server.stop()
