"""How commands tell the hub of what was revoked, and what they say if they cannot."""

from collections.abc import Sequence

import click

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.certificates import LOCAL
from phloem.hub.fleet.configurations import host_and_port
from phloem.hub.fleet.folder import Folder
from phloem.hub.fleet.push import Access, NotReached, Refused, push
from phloem.shared.errors import ConfigError, NKeyError

Server = click.option(
    "--server",
    "-s",
    "servers",
    multiple=True,
    metavar="URL",
    help="The hub, such as tls://hub.example.com:4222. [default: its names, then this machine]",
)
NOT_TOLD_TEXT = """\
It is in {folder}. Until the hub knows, what was revoked may stay connected, and come in again.
A hub that runs from {folder}/hub reads it when it starts; any hub that runs is told by: phloem push"""


def tell_hub(folder: Folder, servers: Sequence[str]) -> bool:
    """Push the accounts; whether that worked, which is told in any case."""
    deployment = folder.deployment
    names = dict.fromkeys((*deployment.hubs, LOCAL[0]))
    urls = servers or [f"tls://{host_and_port(name, deployment.port)}" for name in names]
    access = Access(urls, folder.path / files.AUTHORITY, folder.path / files.SYSTEM_CREDS)
    try:
        server = push(access, folder.tokens().values())
    except (NotReached, Refused, OSError, ConfigError, NKeyError) as problem:
        refused = isinstance(problem, Refused)
        click.echo("The hub refused it:" if refused else "The hub could not be told:", err=True)
        for line in str(problem).splitlines():
            click.echo(f"  {line}", err=True)
        click.echo(NOT_TOLD_TEXT.format(folder=folder.path), err=True)
        return False
    folder.pushed()
    click.echo(f"The hub has confirmed it ({server}).", err=True)
    return True
