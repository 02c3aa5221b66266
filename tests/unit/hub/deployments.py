"""Deployments for tests: made by the code of ``phloem init``, with a clock that is handed in."""

from pathlib import Path

from phloem.hub.fleet import folder as files
from phloem.hub.fleet.creation import Wishes, create
from phloem.hub.fleet.enrolment import Bundle, enroll
from phloem.hub.fleet.folder import Folder
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.admission import Admitted, Peer, account_of, admit, present
from phloem.shared.security.claims import OperatorClaims
from phloem.shared.security.creds import credentials_in
from phloem.shared.security.tokens import decode_as, encode_base64url
from phloem.shared.security.trust import Trust, account, verify_account

NOW_S = 1_800_000_000


def deployment(tmp_path: Path, *, reply_inbox: str = "", now_s: int = NOW_S) -> Path:
    """A new deployment in the folder that is returned."""
    path = tmp_path / "fleet"
    wishes = Wishes(
        "works", ("hub.example.com", "192.0.2.7"), str(path / "hub"), 4222, 7422, 8222, reply_inbox
    )
    create(path, wishes, now_s)
    return path


def enrolled(folder: Folder, name: str, *, now_s: int = NOW_S, expires_s: int = 0) -> Bundle:
    """A device with a new key."""
    (bundle,) = enroll(folder, {name: "/var/lib/phloem"}, expires_s, now_s)
    return bundle


def login(folder: Folder, bundle: Bundle, *, kind: str = "LEAFNODE", now_s: int = NOW_S) -> Admitted:
    """What a server says of a device that logs in; raises CredentialsRefused."""
    operator = decode_as((folder.path / files.OPERATOR_TOKEN).read_text(), OperatorClaims)
    trust = Trust.of([operator])
    token, pair = credentials_in(bundle.creds)
    peer = Peer(kind, "192.0.2.1", b"nonce", encode_base64url(pair.sign(b"nonce")))
    claims = present(token, peer, now_s * SECOND_NS)
    found = account(verify_account(folder.tokens()[account_of(claims)], trust, now_s), trust)
    return admit(claims, found, trust, peer, now_s * SECOND_NS)
