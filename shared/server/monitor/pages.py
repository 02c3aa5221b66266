"""Which page belongs to which path, and the HTTP server that answers with them.

Any method is answered like GET, as nats-server does. Pages are made on the loop's thread in one go, so each
is one consistent moment. Paths are below ``http_base_path``.
"""

import logging
import posixpath
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.net.http import HttpServer, Request, Response
from phloem.shared.server.monitor.absent import gatewayz, routez
from phloem.shared.server.monitor.accountz import accountz, accstatz
from phloem.shared.server.monitor.connz import connz
from phloem.shared.server.monitor.fleetz import fleetz
from phloem.shared.server.monitor.healthz import healthz
from phloem.shared.server.monitor.jsz import jsz
from phloem.shared.server.monitor.leafz import leafz
from phloem.shared.server.monitor.metrics import CONTENT_TYPE, metrics
from phloem.shared.server.monitor.process import CpuMeter, LinuxProcess, Process
from phloem.shared.server.monitor.query import BadParameter, Query, quoted
from phloem.shared.server.monitor.records import MonitorSource
from phloem.shared.server.monitor.render import compact_json, pretty_json
from phloem.shared.server.monitor.subsz import subsz
from phloem.shared.server.monitor.varz import varz

if TYPE_CHECKING:
    import ssl

log = logging.getLogger("phloem.monitor")

JSON = (("Content-Type", "application/json"), ("Access-Control-Allow-Origin", "*"))
HTML = (("Content-Type", "text/html; charset=utf-8"),)
NOT_FOUND = Response(404, b"404 page not found\n")

_JSON_PAGES: dict[str, Callable[[MonitorSource, Query], object]] = {
    "/connz": connz,
    "/subsz": subsz,
    "/leafz": leafz,
    "/accountz": accountz,
    "/accstatz": accstatz,
    "/routez": routez,
    "/gatewayz": gatewayz,
    "/jsz": jsz,
    "/fleetz": fleetz,
}
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"))
_ALIASES = {"/subscriptionsz": "/subsz"}
_INDEX = (
    ("/varz", "General"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/leafz", "LeafNodes"),
    ("/routez", "Routes"),
    ("/gatewayz", "Gateways"),
    ("/jsz", "JetStream"),
    ("/fleetz", "Fleet"),
    ("/healthz", "Health Probe"),
    ("/metrics", "Metrics (Prometheus)"),
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title>
<style>body {{ font: 16px system-ui, sans-serif; margin: 2em }} a {{ display: block; padding: .2em }}</style>
</head>
<body><h1>{name}</h1><p>phloem {build}</p>
{links}
</body></html>
"""


def _escaped(text: str) -> str:
    """For HTML; the module ``html`` brings a table of all entities."""
    for character, entity in _ENTITIES:
        text = text.replace(character, entity)
    return text


class Monitor:
    """The monitoring port. ``process`` is handed in by tests."""

    def __init__(
        self,
        source: MonitorSource,
        process: Process | None = None,
        tls: "Callable[[], ssl.SSLContext] | None" = None,
    ) -> None:
        self._source = source
        self._process = process or LinuxProcess()
        self._cpu = CpuMeter(self._process, source.clock)
        self.requests: Counter[str] = Counter()
        self._base = posixpath.normpath("/" + source.settings().http_base_path.strip("/"))
        self._http = HttpServer(self.answer, source.clock, tls=tls)

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 is any free one.

        Raises:
            PortInUse: The address is taken or not allowed.
        """
        self._http.start(host, port)

    @property
    def port(self) -> int:
        """The port that was bound; 0 when nothing listens."""
        return self._http.port

    async def stop(self) -> None:
        """Stop listening and cut every connection. May be called more than once."""
        await self._http.stop()

    def answer(self, request: Request) -> Response:
        """The page for ``request``."""
        path = self._below_base(request.path)
        path = _ALIASES.get(path, path)
        page = _JSON_PAGES.get(path)
        if page is None and path not in ("/", "/varz", "/healthz", "/metrics"):
            return NOT_FOUND
        self.requests[path] += 1
        query = Query(request.query)
        try:
            if page is not None:
                return Response(200, pretty_json(page(self._source, query)), JSON)
            return self._special(path, query)
        except BadParameter as error:
            return Response(400, str(error).encode("utf-8", "surrogateescape"))

    def _special(self, path: str, query: Query) -> Response:
        """Pages that need more than the source, or are no pretty-printed JSON."""
        if path == "/varz":
            page = varz(self._source, self._process, self._cpu, self.requests)
            return Response(200, pretty_json(page), JSON)
        if path == "/healthz":
            status, health = healthz(self._source, query)
            for error in (health.error, *(found.error for found in health.errors)):
                if error:
                    log.warning("Healthcheck failed: %s", quoted(error))
            return Response(status, compact_json(health), JSON)
        if path == "/metrics":
            return Response(200, metrics(self._source, self._process), (("Content-Type", CONTENT_TYPE),))
        return Response(200, self._index().encode("utf-8", "replace"), HTML)

    def _below_base(self, path: str) -> str:
        """``path`` without the base path; empty for a path that is not below it."""
        if self._base == "/":
            return path
        if path == self._base:
            return "/"
        rest = path.removeprefix(self._base)
        return rest if rest != path and rest != "/" and rest.startswith("/") else ""

    def _index(self) -> str:
        settings = self._source.settings()
        base = "" if self._base == "/" else self._base
        links = "\n".join(f'<a href="{_escaped(base + path)}">{title}</a>' for path, title in _INDEX)
        return _PAGE.format(name=_escaped(settings.server_name), build=_escaped(settings.build), links=links)
