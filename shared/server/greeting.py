"""What a server says of itself to clients before they say anything: INFO."""

import platform
from typing import TYPE_CHECKING, Any

from phloem.shared.wire.info import API_LEVEL, PROTOCOL_VERSION, Info

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


def client_info(server: "Server", *, max_payload: int | None = None, **fields: Any) -> Info:
    """INFO for a client, with ``fields`` set as well; ``max_payload`` is the server's until it is known who it is."""
    o = server.options
    host, port = o.host, server.port
    if o.client_advertise:
        advertised, _, number = o.client_advertise.rpartition(":")
        host, port = (advertised, int(number)) if advertised else (number, port)
    return Info(
        server_id=server.server_id,
        server_name=server.name,
        version=PROTOCOL_VERSION,
        proto=1,
        go=f"python{platform.python_version()}",
        host=host,
        port=port,
        headers=not o.no_header_support,
        auth_required=server.login.required,
        max_payload=o.max_payload if max_payload is None else max_payload,
        jetstream=server.jetstream is not None,
        domain=o.jetstream.domain if server.jetstream is not None and o.jetstream is not None else "",
        api_lvl=API_LEVEL,
        xkey=server.curve.public_key,
        **fields,
    )
