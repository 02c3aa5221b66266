"""Keys keep their secrets, and what is written is read again."""

import copy
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.shared.errors import NKeyError
from phloem.shared.security import nkeys, xkeys
from phloem.shared.security.nkeys import KeyPair, Prefix
from tests.unit.security.keyring import CURVE, OTHER_CURVE, PAIRS, USER

RAW = st.binary(min_size=32, max_size=32)
PREFIXES = st.sampled_from(sorted(nkeys.PUBLIC))


@given(PREFIXES, RAW)
def test_what_is_written_is_read(prefix: Prefix, raw: bytes) -> None:
    text = nkeys.encode(prefix, raw)
    assert len(text) == 56
    assert nkeys.decode(text) == (prefix, raw)
    seed = nkeys.encode_seed(prefix, raw)
    assert len(seed) == 58
    assert nkeys.decode_seed(seed) == (prefix, raw)


@given(PREFIXES, RAW, st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_character_is_noticed(prefix: Prefix, raw: bytes, at: int, other: str) -> None:
    text = nkeys.encode(prefix, raw)
    changed = text[:at] + other + text[at + 1 :]
    assert nkeys.is_public(changed) is (changed == text)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_is_for_one_text(data: bytes, other: bytes) -> None:
    signature = USER.sign(data)
    nkeys.verify(USER.public_key, data, signature)
    if other != data:
        with pytest.raises(NKeyError, match=r"^nkeys: signature verification failed$"):
            nkeys.verify(USER.public_key, other, signature)


@given(st.binary(max_size=300), st.binary(min_size=24, max_size=24))
def test_what_is_sealed_is_opened_by_one(data: bytes, nonce: bytes) -> None:
    sealed = xkeys.seal(CURVE, data, OTHER_CURVE.public_key, nonce)
    assert len(sealed) == len(data) + 44
    assert xkeys.unseal(OTHER_CURVE, sealed, CURVE.public_key) == data
    with pytest.raises(NKeyError, match=r"^nkeys: could not decrypt input$"):
        xkeys.unseal(CURVE, sealed, CURVE.public_key)


@pytest.mark.parametrize(
    ("sealed", "text"),
    [
        (b"", "nkeys: encrypted input is not valid"),
        (b"xkv1" + bytes(24), "nkeys: encrypted input is not valid"),
        (b"xkv2" + bytes(60), "nkeys: encrypted input wrong version"),
        (b"xkv1" + bytes(25), "nkeys: could not decrypt input"),
        (b"xkv1" + bytes(60), "nkeys: could not decrypt input"),
    ],
)
def test_not_sealed(sealed: bytes, text: str) -> None:
    with pytest.raises(NKeyError, match=f"^{text}$"):
        xkeys.unseal(CURVE, sealed, OTHER_CURVE.public_key)


def test_kinds_of_keys_are_not_mixed_up() -> None:
    nonce = bytes(24)
    with pytest.raises(NKeyError, match="only curve key can seal/open"):
        xkeys.seal(USER, b"", CURVE.public_key, nonce)
    with pytest.raises(NKeyError, match="not a valid recipient"):
        xkeys.seal(CURVE, b"", USER.public_key, nonce)
    with pytest.raises(NKeyError, match="not a valid sender"):
        xkeys.unseal(CURVE, b"xkv1" + bytes(60), USER.public_key)
    with pytest.raises(NKeyError, match="curve key is not valid for sign/verify"):
        CURVE.sign(b"")
    with pytest.raises(NKeyError, match="curve key is not valid for sign/verify"):
        nkeys.verify(CURVE.public_key, b"", bytes(64))
    with pytest.raises(NKeyError, match="invalid prefix byte"):
        KeyPair(Prefix.SEED, bytes(32))
    with pytest.raises(NKeyError, match="invalid seed length"):
        KeyPair(Prefix.USER, bytes(31))


def test_a_point_of_small_order_is_nobodys_key() -> None:
    nobody = nkeys.encode(Prefix.CURVE, bytes(32))
    with pytest.raises(NKeyError, match="not a valid recipient"):
        xkeys.seal(CURVE, b"x", nobody, bytes(24))
    with pytest.raises(NKeyError, match="could not decrypt"):
        xkeys.unseal(CURVE, b"xkv1" + bytes(60), nobody)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.public_key[0])
def test_secrets_are_not_shown_or_copied(pair: KeyPair) -> None:
    seed = pair.seed().decode()
    assert seed not in repr(pair)
    assert repr(pair) == str(pair) == f"<KeyPair {pair.public_key}>"
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(pair)
    with pytest.raises(NKeyError) as caught:
        KeyPair.from_seed(seed[:-1] + "!")
    assert seed[5:50] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_wiping() -> None:
    pair = KeyPair(Prefix.USER, b"s" * 32)
    secret = pair.secret()
    with pair:
        pair.sign(b"x")
    assert bytes(secret) == bytes(32)
    assert pair.public_key.startswith("U")
    for use in (pair.secret, pair.seed, lambda: pair.sign(b"x")):
        with pytest.raises(NKeyError, match=r"^nkeys: can not sign, no private key available$"):
            use()


def test_a_key_that_is_let_go_is_wiped() -> None:
    pair = KeyPair(Prefix.USER, b"s" * 32)
    secret = pair.secret()
    del pair
    assert bytes(secret) == bytes(32)


def test_a_thousand_malformed_keys() -> None:
    chance = random.Random(4)
    good = [pair.public_key for pair in PAIRS] + [pair.seed().decode() for pair in PAIRS]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ab01=\n\r \0é𐍈-_"
    texts = list[str]()
    for _ in range(1000):
        text = list(chance.choice(good))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(text) + 1)
            match chance.randrange(4):
                case 0:
                    text[at:at] = chance.choices(alphabet, k=chance.choice((1, 8, 400)))
                case 1:
                    del text[at : at + chance.randint(1, 40)]
                case 2:
                    text[at : at + 1] = chance.choice(alphabet)
                case 3:
                    text += text[:at]
        given_text = "".join(text)
        for read in (nkeys.decode, nkeys.decode_seed, KeyPair.from_seed):
            try:
                read(given_text)
            except NKeyError as error:
                texts.append(str(error))
    assert len(texts) > 2900
    assert all(text.startswith(("nkeys: ", "illegal base32 data at input byte ")) for text in texts)
    assert max(map(len, texts)) < 60
