"""What a running server carries along, and that nothing is missing because of what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from phloem.shared.net.http import http_date
from tests.support.server_process import ServerProcess

STORE = 'jetstream { store_dir: "js" }\nlisten: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\n'
ABSENT = """
import sys
from phloem.shared.server import lean
lean.hashes_without_openssl()
lean.asyncio_without_ssl()
import asyncio, asyncio.sslproto, hashlib, hmac
assert asyncio.sslproto.ssl is None and "_hashlib" not in sys.modules
assert hashlib.sha256(b"a").hexdigest().startswith("ca978112ca1bbdca")
assert len(hashlib.blake2b(b"a", digest_size=8).digest()) == 8
assert hmac.compare_digest(b"a", b"a") and not hmac.compare_digest(b"a", b"b")
import ssl
assert ssl.create_default_context() and sys.modules["ssl"] is ssl
from phloem.shared.store import keyring
assert keyring._stretched("password", b"NaCl", 10, 8, 16).hex().startswith("fdbabe1c9d347200")  # RFC 7914
from phloem.shared.security.tokens import _sha512_256
assert _sha512_256(b"abc").hex().startswith("53048e2681941ef9")  # FIPS 180-4
"""


def test_what_needs_openssl_has_it_from_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("product", ["server", "edge", "hub"])
def test_a_running_server_has_no_openssl(tmp_path: Path, product: str) -> None:
    """Libraries that are mapped tell what was imported."""
    argv = [sys.executable, "-m", "phloem", product]
    more = 'leafnodes { listen: "127.0.0.1:-1" }' if product == "hub" else ""
    with ServerProcess(argv, STORE + more, tmp_path) as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
    assert "store.cpython" in maps
    for library in ("libcrypto", "libssl", "_hashlib", "_ssl."):
        assert library not in maps, library


@pytest.mark.parametrize(
    ("seconds", "date"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (1_582_934_400, "Sat, 29 Feb 2020 00:00:00 GMT"),
        (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
        (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
    ],
)
def test_date_of_an_answer(seconds: int, date: str) -> None:
    """As ``email.utils.formatdate`` has it, which ends in 2038 where machines have 32 bits."""
    assert http_date(seconds) == date
