"""Encryption of everything that a store writes (vault.pyx)."""

CIPHERS: tuple[str, ...]

def hardware_aes() -> bool:
    """Whether this processor has instructions for AES that libsodium uses."""

class Vault:
    """What a store is encrypted with. Only for one store at a time: it counts what it has encrypted."""

    cipher: str
    def __init__(self, cipher: str, key: bytes, *, fast: bool | None = None) -> None:
        """``key``: the store's 32 bytes. ``fast``: whether AES is libsodium's; by default where the processor has it.

        Raises:
            ImportError: PyNaCl does not have what is needed.
        """
