"""What a stream of the hub itself says of a device, for when the record of it is gone: the stream was copied,
or restored from a backup, or comes from a nats-server.

Messages of a device lie in their order, and each names itself in ``Phloem-Origin: STORE.EPOCH SEQ ...``: everything up
to the newest one of an epoch has come, or was announced as missing. Except where it was published message by message
with an id (to a nats-server's stream without batches): then one may be there without those before it, and nothing is
said.

What is not known: what the stream has deleted, and what was announced behind its last message; the device says that
once more. Of two devices that took turns under one name the messages lie mixed, and one may send some a second time.
"""

from typing import TYPE_CHECKING

from phloem.shared.forward.hub_stream import At, Search, identity_text, origin_of
from phloem.shared.forward.identity import Received, Record

if TYPE_CHECKING:
    from phloem.shared.forward.messages import Offer
    from phloem.shared.store.log import Log, Message


def record_in(log: "Log", prefix: str, offer: "Offer") -> Record | None:
    """The record of ``offer``, whose messages begin with ``prefix``, as far as it has to be known: the newest epoch
    that both ends know. None: there is none, or it could say too much. Raises Damaged."""
    store = identity_text(offer.store)
    idents = {identity_text(epoch.ident): epoch for epoch in offer.epochs}

    def is_strange(at: At) -> bool:
        return at.store != store or at.epoch not in idents

    pattern = f"{prefix}>".encode()
    seqs = log.last_of_subjects((pattern,))
    last = log.read(seqs[-1]) if seqs else None
    if last is None:
        return None
    known: At | None = _at(last)
    if is_strange(_at(last)):  # the device was set back, or has another store than before
        search = Search(log.first_seq, _at(last), is_strange)
        while search.question and (message := log.next((pattern,), search.question)) is not None:
            search.answered(_at(message))
        known = search.before
    if known is None:
        return None
    epoch, message = idents[known.epoch], log.read(known.hub_seq)
    ident = f"\r\nNats-Msg-Id: {store}.{known.epoch}.{known.seq}\r\n".encode()
    if message is None or ident in message.header:
        return None
    return Record(offer.store, [Received(epoch.ident, epoch.first_seq, known.seq)])


def _at(message: "Message") -> At:
    store, epoch, seq = origin_of(message.header)
    return At(message.seq, store, epoch, seq, "")
