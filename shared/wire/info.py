"""INFO as a server sends it to clients (wire 1.2)."""

import msgspec

# Clients choose what they may use by the server's version: this is the version whose protocol phloem speaks.
PROTOCOL_VERSION = "2.15.1"
API_LEVEL = 5  # of the JetStream API; sent by every server of that version


class Info(msgspec.Struct, kw_only=True, omit_defaults=True):
    """INFO in nats-server's field order; what has its default is left out, except the fields without one."""

    server_id: str
    server_name: str
    version: str
    proto: int
    go: str
    host: str
    port: int
    headers: bool
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    tls_available: bool = False
    max_payload: int
    jetstream: bool = False
    client_id: int = 0
    client_ip: str = ""
    nonce: str = ""
    connect_urls: tuple[str, ...] = ()
    ldm: bool = False
    connect_info: bool = False
    remote_account: str = ""
    acc_is_sys: bool = False
    domain: str = ""
    api_lvl: int = 0
    xkey: str = ""  # to seal for this server


def encode_info(info: msgspec.Struct) -> bytes:
    """The protocol line; the blank before CR LF is nats-server's."""
    return b"INFO " + msgspec.json.encode(info) + b" \r\n"
