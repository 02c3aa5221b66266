"""From the ``forward`` blocks of a configuration to entries. What cannot work is refused with the name of the block."""

import re
from collections.abc import Sequence

import msgspec

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.leaf.hours import Window, windows
from phloem.shared.limits import FORWARD_STREAMS
from phloem.shared.server.options import Options
from phloem.shared.server.options_forward import Forward
from phloem.shared.server.options_leafnodes import Remote
from phloem.shared.wire.subjects import is_valid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
UNSET = -2


def entry_of(block: Forward) -> Entry:
    """Raises ConfigError."""
    if not NAME.fullmatch(block.name):
        raise _wrong(block, "a name has letters, digits, - and _, because it is a token of subjects")
    if not (block.subjects or block.stream):
        raise _wrong(block, "needs subjects, a stream, or both")
    for subject in block.subjects:
        if not is_valid(subject):
            raise _wrong(block, f'subject "{subject}" is not a valid subject')
    if block.rate < 0:
        raise _wrong(block, f"rate is bytes a second, not {block.rate}; 0 is as fast as the link can")
    if block.keep < UNSET:
        raise _wrong(block, f"keep is bytes, not {block.keep}; -1 leaves it to the stream's limits")
    if block.sync_ns and block.stream:
        raise _wrong(
            block, "sync is for a stream that is made for it; set persist_mode of the stream instead"
        )
    if block.sync_ns and block.class_ == "alarm":
        raise _wrong(block, "alarms are always synced before they are acknowledged; leave sync out")
    return Entry(
        name=block.name,
        stream=stream_of(block),
        to=block.to or f"FLEET_{block.name}",
        filters=block.subjects if block.stream else (),  # of one that is made for it all is sent
        cls=Class[block.class_.upper()],
        rate=block.rate,
        hours=_hours(block),
        linger_ns=block.linger_ns,
        replicas=block.replicas,
    )


def stream_of(block: Forward) -> str:
    """The stream on this device."""
    return block.stream or f"FORWARD_{block.name}"


def keep_of(block: Forward) -> int:
    """Bytes that stay after they are confirmed; -1: the stream's own limits decide."""
    if block.keep == UNSET:
        return -1 if block.stream else 0
    return block.keep


def check(options: Options) -> None:
    """Raises ConfigError for what cannot work."""
    if not options.forward:
        return
    if options.jetstream is None or not options.jetstream.on:
        raise ConfigError("forward keeps messages in streams: add a jetstream block with a store_dir")
    if (
        options.phloem.forward_to == "jetstream"
        and options.phloem.hub_domain == options.jetstream.domain != ""
    ):
        raise ConfigError(
            f'phloem.hub_domain is "{options.jetstream.domain}", the domain of this device: they have to differ'
        )
    if not NAME.fullmatch(options.server_name):
        raise ConfigError(
            "forward needs a server_name of letters, digits, - and _: it names this device in the hub's subjects"
        )
    if len(options.forward) > FORWARD_STREAMS:
        raise ConfigError(
            f"forward has {len(options.forward)} entries, at most {FORWARD_STREAMS} are possible"
        )
    for block in options.forward:
        entry_of(block)
        _check_account(block, options)


def _check_account(block: Forward, options: Options) -> None:
    """Where the configuration has the accounts: others are known later."""
    named = [account for account in options.accounts if account.name != options.system_account]
    if options.operators:
        return
    wanted = block.account or GLOBAL_ACCOUNT
    having = [one.name for one in named if one.jetstream is not None and one.jetstream.on]
    if wanted not in (having if named else [GLOBAL_ACCOUNT]):
        raise _wrong(block, f'account "{wanted}" has no JetStream')


def fenced(options: Options) -> Options:
    """What is forwarded comes from this device: a hub passes on what others publish, and a stream that is made for
    such subjects would keep the readings of the whole fleet, and forward them as its own."""
    own: dict[str, list[str]] = {}
    for block in options.forward:
        if not block.stream:
            account = block.account or GLOBAL_ACCOUNT
            own.setdefault(account, []).extend(s for s in block.subjects if s[0] not in "*>")
    remotes = tuple(
        _denying(remote, own.get(remote.account or GLOBAL_ACCOUNT, ()))
        for remote in options.leafnodes.remotes
    )
    leafnodes = msgspec.structs.replace(options.leafnodes, remotes=remotes)
    return msgspec.structs.replace(options, leafnodes=leafnodes)


def _denying(remote: Remote, subjects: Sequence[str]) -> Remote:
    more = [subject for subject in subjects if subject not in remote.deny_imports]
    return msgspec.structs.replace(remote, deny_imports=(*remote.deny_imports, *more))


def _hours(block: Forward) -> tuple[Window, ...]:
    try:
        return windows(block.hours)
    except ConfigError as error:
        raise _wrong(block, str(error)) from error


def _wrong(block: Forward, text: str) -> ConfigError:
    return ConfigError(f'forward "{block.name}": {text}')
