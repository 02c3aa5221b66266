"""Configuration files of a hub and of a device, valid for phloem and for nats-server."""

from typing import NamedTuple

from phloem.hub.fleet.permissions import mailbox
from phloem.shared.errors import ConfigError

TLS_TIMEOUT_S = 10  # for a handshake; nats-server's 2 s are short for a modem
DOMAIN = "hub"
STORE_KEY = "PHLOEM_STORE_KEY"  # the variable of the environment

_HUB = """\
# The hub. Made by phloem init; phloem hub and nats-server both take it.
server_name: "hub"
listen: "0.0.0.0:{port}"      # for programs
http: "127.0.0.1:{monitor_port}"    # monitoring; for this machine alone, since it asks for no password

# Who is let in: whom an account vouches for, which the operator vouches for. No secret of theirs is on this machine.
operator: "{at}/operator.jwt"
system_account: "{system}"
resolver {{
  type: full
  # the accounts, with the devices that were revoked; the hub writes here
  dir: "{at}/jwt"
  allow_delete: false
}}

jetstream {{
  store_dir: "{at}/jetstream"
  domain: "{domain}"
}}

tls {{
  cert_file: "{at}/hub.pem"
  key_file: "{at}/hub.key"
  timeout: {timeout}
}}

leafnodes {{
  listen: "0.0.0.0:{leaf_port}"    # for devices
  tls {{
    cert_file: "{at}/hub.pem"
    key_file: "{at}/hub.key"
    timeout: {timeout}
  }}
}}
"""

_EDGE = """\
# {name}. Made by phloem enroll; phloem edge and nats-server both take it.
server_name: "{name}"
listen: "127.0.0.1:4222"    # for programs on this device

jetstream {{
  store_dir: "{at}"
  domain: "{name}"    # at the hub: js = nc.jetstream(domain="{name}")
{encryption}}}

# What crosses: {name}.> both ways, answers below {mailbox} (a program that asks across the link sets this inbox
# prefix), and the JetStream of this device: {stream}
leafnodes {{
  remotes: [ {{
    urls: [{urls}]
    # the secret of this device, and by what it knows the hub
    credentials: "{at}/device.creds"
    tls {{ ca_file: "{at}/ca.pem", timeout: {timeout} }}
  }} ]
}}
"""


_ENCRYPTION = f"""\
  # what is stored is encrypted with a key from the environment, which is not to be on the same disk
  cipher: "chacha"
  key: ${STORE_KEY}
"""


class HubSettings(NamedTuple):
    """What the hub's file says. ``at``: the folder with its files, on its machine; ``system``: an account."""

    at: str
    system: str
    port: int
    leaf_port: int
    monitor_port: int


def hub_text(settings: HubSettings) -> str:
    """The hub's configuration."""
    check_path(settings.at)
    return _HUB.format(**settings._asdict(), domain=DOMAIN, timeout=TLS_TIMEOUT_S)


def edge_text(name: str, at: str, urls: list[str], *, encrypt: bool = False) -> str:
    """A device's configuration; ``at``: the folder with its files, on the device; ``encrypt``: what it stores."""
    check_path(at)
    quoted = ", ".join(f'"{url}"' for url in urls)
    stream = f"a stream that the hub takes from is called {name}."
    return _EDGE.format(
        name=name,
        at=at,
        urls=quoted,
        mailbox=mailbox(name),
        stream=stream,
        timeout=TLS_TIMEOUT_S,
        encryption=_ENCRYPTION if encrypt else "",
    )


def host_and_port(host: str, port: int) -> str:
    """As in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_path(path: str) -> None:
    """Whether a configuration file can name a folder.

    Raises:
        ConfigError: It has characters with a meaning there, or depends on where the server is started.
    """
    if not path.startswith("/"):
        raise ConfigError(f"{path!r}: a path that begins with / is needed")
    if wrong := next((c for c in path if c in '"$\\' or not c.isprintable()), ""):
        raise ConfigError(f"{path!r}: a configuration file cannot name a folder with {wrong!r} in it")
