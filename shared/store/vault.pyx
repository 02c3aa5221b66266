"""Encryption of everything that a store writes. Nothing here is a cipher: ChaCha20-Poly1305 (RFC 8439), AES-256-GCM,
BLAKE2b and SipHash are libsodium's, which comes with PyNaCl; they are called without Python.

**Keys.** A store has one random key of 32 bytes; ``keyring.py`` keeps it, wrapped. From it every run of a store makes
keys of its own: BLAKE2b of a label and of 10 random bytes, the run's ident. **Nonces** are numbers that a run counts up
from 0, of 48 bits; when they are used up it takes another ident. Together they stand before what they encrypt. So no
key sees a nonce twice, whatever is written over, recycled, restored from a backup or replayed.

**Contexts.** A value is bound to its database and its key, a part of a block to its place and the block's size as well,
a frame to its head: what is moved somewhere else is damage.

**Names.** Subjects and keys of pairs have to be found again, so they are hashed with a key (SipHash-2-4, 128 bits), and
stand once more in the encrypted value.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from phloem.shared.kernel.sublist cimport must

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* to, size_t n, unsigned int flags)

cdef enum:
    COUNT_BYTES = NONCE - RUN_ID
    VALUES = 1  # labels of keys
    FRAMES = 2
    NAMES = 3
    PART_OF_BLOCK = 0x626C636B  # what is encrypted, where it is no value with a kind of its own
    TAIL_BYTES = 4
    KEY = 12
    WHOLE_NONCE = 12  # of the ciphers: the number, and zeros
    NAME_MAX = 512

ctypedef int (*hash_fn)(unsigned char* to, size_t n, const unsigned char* data, unsigned long long length,
                        const unsigned char* key, size_t key_len, const unsigned char* salt,
                        const unsigned char* personal) noexcept nogil
ctypedef int (*short_hash_fn)(unsigned char* to, const unsigned char* data, unsigned long long n,
                              const unsigned char* key) noexcept nogil

cdef hash_fn _hash = NULL
cdef short_hash_fn _short_hash = NULL

CIPHERS = ("chacha", "aes")


# --- keys ------------------------------------------------------------------------------------------


cdef void _derive(Vault* v, uint8_t label, const uint8_t* ident, uint8_t* to, size_t n) noexcept nogil:
    cdef uint8_t text[1 + RUN_ID]
    text[0] = label
    memcpy(&text[1], ident, RUN_ID)
    if _hash(to, n, text, sizeof(text), v.key, 32, NULL, NULL) != 0:
        must(NULL)


cdef void _new_run(Vault* v, Run* run) noexcept nogil:
    cdef ssize_t got = -1
    while got != RUN_ID:
        got = getrandom(run.ident, RUN_ID, 0)
        if got < 0 and errno != EINTR:
            must(NULL)  # going on would use a key that is known
    run.count = 0
    _derive(v, run.label, run.ident, run.key, 32)


cdef uint64_t _numbers(Vault* v, Run* run, uint64_t n) noexcept nogil:
    """The first of ``n`` numbers that this run has not used."""
    cdef uint64_t first
    if run.count + n >> 8 * COUNT_BYTES:
        _new_run(v, run)
    first = run.count
    run.count += n
    return first


cdef inline void _put_nonce(Run* run, uint64_t number, char* to) noexcept nogil:
    memcpy(to, run.ident, RUN_ID)
    memcpy(to + RUN_ID, &number, COUNT_BYTES)


cdef inline void _number_nonce(uint64_t number, uint8_t* to) noexcept nogil:
    memset(to, 0, WHOLE_NONCE)
    memcpy(to, &number, COUNT_BYTES)


cdef void _know(Opener* o, uint8_t label, const uint8_t* ident) noexcept nogil:
    if o.label != label or memcmp(o.ident, ident, RUN_ID) != 0:
        _derive(o.vault, label, ident, o.key, 32)
        o.label = label
        memcpy(o.ident, ident, RUN_ID)


cdef void _shut(Vault* v, Run* run, uint64_t number, const char* context, size_t context_len, const char* data, size_t n,
                char* to) noexcept nogil:
    cdef uint8_t nonce[WHOLE_NONCE]
    _number_nonce(number, nonce)
    if v.shut(<unsigned char*>to, NULL, <const unsigned char*>data, n, <const unsigned char*>context, context_len, NULL,
              nonce, run.key) != 0:
        must(NULL)  # it cannot fail but for want of memory; nothing may be written in the clear


cdef bint _open(Opener* o, uint64_t number, const char* context, size_t context_len, const char* data, size_t n,
                char* to) noexcept nogil:
    cdef uint8_t nonce[WHOLE_NONCE]
    _number_nonce(number, nonce)
    return o.vault.open(<unsigned char*>to, NULL, NULL, <const unsigned char*>data, n, <const unsigned char*>context,
                        context_len, nonce, o.key) == 0


# --- values ----------------------------------------------------------------------------------------


cdef void vault_shut(Vault* v, const char* context, size_t context_len, const char* data, size_t n, char* to) noexcept nogil:
    """``n + SHUT`` bytes; ``data`` may be ``to + NONCE``."""
    cdef uint64_t number = _numbers(v, &v.values, 1)
    _put_nonce(&v.values, number, to)
    _shut(v, &v.values, number, context, context_len, data, n, to + NONCE)


cdef bint vault_open(Opener* o, const char* context, size_t context_len, const char* data, size_t n, char* to) noexcept nogil:
    """``n - SHUT`` bytes; False: it is not what was put there."""
    cdef uint64_t number = 0
    if n < SHUT:
        return False
    memcpy(&number, data + RUN_ID, COUNT_BYTES)
    _know(o, VALUES, <const uint8_t*>data)
    return _open(o, number, context, context_len, data + NONCE, n - NONCE, to)


cdef void vault_hide(Vault* v, uint32_t what, uint32_t ident, const char* name, size_t n, char* to) noexcept nogil:
    """``HIDDEN`` bytes that only this store makes of the name, of this log, for this purpose."""
    cdef char text[8 + NAME_MAX]
    memcpy(text, &what, 4)
    memcpy(&text[4], &ident, 4)
    if n > NAME_MAX:  # its hash stands for it
        _short_hash(<unsigned char*>&text[8], <const unsigned char*>name, n, v.names)
        n = HIDDEN
    else:
        memcpy(&text[8], name, n)
    _short_hash(<unsigned char*>to, <const unsigned char*>&text[0], 8 + n, v.names)


cdef char* opener_room(Opener* o, size_t n) noexcept nogil:
    if n > o.plain.cap:
        o.plain.cap = n * 2
        o.plain.data = <char*>must(realloc(o.plain.data, o.plain.cap))
    return o.plain.data


cdef void opener_free(Opener* o) noexcept nogil:
    free(o.plain.data)
    memset(o, 0, sizeof(Opener))


# --- blocks ----------------------------------------------------------------------------------------
#
# nonce, bytes of the tail, head and tail of the block in one, then what is between them in chunks


cdef size_t sealed_size(size_t head, size_t tail, size_t plain) noexcept nogil:
    """Bytes of an encrypted block of ``plain`` bytes, of which the first ``head`` and the last ``tail`` are always
    looked at."""
    return NONCE + TAIL_BYTES + plain + TAG * (1 + (plain - head - tail + CHUNK - 1) // CHUNK)


cdef inline void _part_context(char* to, const char* key, uint32_t index, uint32_t tail, size_t n) noexcept nogil:
    cdef uint32_t what = PART_OF_BLOCK
    cdef uint64_t size = n
    memcpy(to, &what, 4)
    memcpy(to + 4, key, KEY)
    memcpy(to + 4 + KEY, &index, 4)
    memcpy(to + 8 + KEY, &tail, 4)
    memcpy(to + 12 + KEY, &size, 8)


cdef void sealed_put(Vault* v, const char* key, const char* data, size_t head, size_t tail, size_t n, char* to) noexcept nogil:
    """``sealed_size`` bytes."""
    cdef size_t left = n - head - tail
    cdef uint32_t count = <uint32_t>((left + CHUNK - 1) // CHUNK)
    cdef uint64_t number = _numbers(v, &v.values, 1 + <uint64_t>count)
    cdef uint32_t length = <uint32_t>tail
    cdef char context[20 + KEY]
    cdef char* both = <char*>must(malloc(head + tail))
    cdef uint32_t i
    cdef size_t part
    _put_nonce(&v.values, number, to)
    memcpy(to + NONCE, &length, TAIL_BYTES)
    memcpy(both, data, head)
    memcpy(both + head, data + n - tail, tail)
    _part_context(context, key, 0, length, n)
    to += NONCE + TAIL_BYTES
    _shut(v, &v.values, number, context, sizeof(context), both, head + tail, to)
    free(both)
    to += head + tail + TAG
    data += head
    for i in range(count):
        part = CHUNK if left > CHUNK else left
        _part_context(context, key, i + 1, length, n)
        _shut(v, &v.values, number + 1 + i, context, sizeof(context), data, part, to)
        data += part
        left -= part
        to += part + TAG


cdef bint sealed_begin(Sealed* s, Opener* o, const char* key, const char* data, size_t size, size_t head) noexcept nogil:
    """Opens head and tail. ``plain.length`` is the block's size; False: it is none, or these are damaged."""
    cdef size_t fixed, rest
    cdef uint32_t tail
    if size < NONCE + TAIL_BYTES + head + TAG:
        return False
    memcpy(&tail, data + NONCE, TAIL_BYTES)
    fixed = NONCE + TAIL_BYTES + head + <size_t>tail + TAG
    if fixed > size:
        return False
    rest = size - fixed
    s.opener, s.data, s.size, s.head, s.tail = o, data, size, head, tail
    memcpy(s.key, key, KEY)
    s.count = <uint32_t>((rest + CHUNK + TAG - 1) // (CHUNK + TAG))
    if s.count and rest - <size_t>(s.count - 1) * (CHUNK + TAG) <= TAG:
        return False
    s.plain.length = head + tail + rest - <size_t>s.count * TAG
    if s.plain.length > s.plain.cap:
        s.plain.data = <char*>must(realloc(s.plain.data, s.plain.length))
        s.plain.cap = s.plain.length
    if s.count > s.cap:
        s.state = <uint8_t*>must(realloc(s.state, s.count))
        s.cap = s.count
    if s.count:
        memset(s.state, 0, s.count)
    if not _open_part(s, 0, data + NONCE + TAIL_BYTES, head + tail, s.plain.data):
        return False
    memmove(s.plain.data + s.plain.length - tail, s.plain.data + head, tail)
    return True


cdef bint sealed_need(Sealed* s, size_t start, size_t end) noexcept nogil:
    """Opens what has these bytes; False: some of it is damaged, or beyond the end."""
    cdef uint32_t i, last
    cdef bint sound = True
    if end > s.plain.length or start > end:
        return False
    if start < s.head:
        start = s.head
    if end > s.plain.length - s.tail:
        end = s.plain.length - s.tail
    if start >= end:
        return True
    last = <uint32_t>((end - s.head - 1) // CHUNK)
    for i in range(<uint32_t>((start - s.head) // CHUNK), last + 1):
        if s.state[i] == 0:
            s.state[i] = 1 if _open_chunk(s, i) else 2
        if s.state[i] == 2:
            sound = False
    return sound


cdef bint _open_chunk(Sealed* s, uint32_t index) noexcept nogil:
    cdef size_t at = <size_t>index * CHUNK
    cdef size_t left = s.plain.length - s.head - s.tail - at
    cdef size_t part = CHUNK if left > CHUNK else left
    cdef const char* data = s.data + NONCE + TAIL_BYTES + s.head + s.tail + TAG + <size_t>index * (CHUNK + TAG)
    if _open_part(s, index + 1, data, part, s.plain.data + s.head + at):
        return True
    memset(s.plain.data + s.head + at, 0, part)
    return False


cdef bint _open_part(Sealed* s, uint32_t index, const char* data, size_t part, char* to) noexcept nogil:
    cdef char context[20 + KEY]
    cdef uint64_t number = 0
    memcpy(&number, s.data + RUN_ID, COUNT_BYTES)
    _know(s.opener, VALUES, <const uint8_t*>s.data)
    _part_context(context, s.key, index, <uint32_t>s.tail, s.plain.length)
    return _open(s.opener, number + index, context, sizeof(context), data, part + TAG, to)


cdef void sealed_free(Sealed* s) noexcept nogil:
    free(s.plain.data)
    free(s.state)
    memset(s, 0, sizeof(Sealed))


# --- frames of the journal -------------------------------------------------------------------------


cdef void _frame_context(char* to, const char* frame) noexcept nogil:
    """The head without its nonce, which stands where a plain frame has its time and its checksum."""
    memcpy(to, frame, 24)
    memcpy(to + 24, frame + 32, 8)


cdef void frame_shut(Vault* v, char* frame, size_t head, size_t payload) noexcept nogil:
    """In place; behind the payload is room for the tag."""
    cdef uint64_t number = _numbers(v, &v.frames, 1)
    cdef char nonce[NONCE]
    cdef char context[32]
    _put_nonce(&v.frames, number, nonce)
    memcpy(frame + 24, nonce, 8)
    memcpy(frame + 40, &nonce[8], 8)
    _frame_context(context, frame)
    _shut(v, &v.frames, number, context, sizeof(context), frame + head, payload, frame + head)


cdef bint frame_open(Opener* o, const char* frame, size_t head, size_t payload, char* to) noexcept nogil:
    """``payload`` bytes behind the head, without the tag that follows them; False: it is not what was written."""
    cdef char nonce[NONCE]
    cdef char context[32]
    cdef uint64_t number = 0
    memcpy(nonce, frame + 24, 8)
    memcpy(&nonce[8], frame + 40, 8)
    memcpy(&number, &nonce[RUN_ID], COUNT_BYTES)
    _know(o, FRAMES, <const uint8_t*>&nonce[0])
    _frame_context(context, frame)
    return _open(o, number, context, sizeof(context), frame + head, payload + TAG, to)


# --- libsodium -------------------------------------------------------------------------------------


cdef size_t _address(str name) except 0:
    import nacl._sodium as sodium

    return int(sodium.ffi.cast("uintptr_t", sodium.ffi.addressof(sodium.lib, name)))


def _load():
    """Takes the functions from PyNaCl; raises ImportError where it has them not."""
    global _hash, _short_hash
    import nacl._sodium as sodium

    if sodium.lib.sodium_init() < 0:
        raise ImportError("libsodium cannot be used")
    try:
        _hash = <hash_fn><size_t>_address("crypto_generichash_blake2b_salt_personal")
        _short_hash = <short_hash_fn><size_t>_address("crypto_shorthash_siphashx24")
    except AttributeError as error:
        raise ImportError(f"PyNaCl does not have what encryption needs: {error}") from error


def hardware_aes():
    import nacl._sodium as sodium

    sodium.lib.sodium_init()
    return hasattr(sodium.lib, "crypto_aead_aes256gcm_encrypt") and bool(sodium.lib.crypto_aead_aes256gcm_is_available())


cdef int _slow_shut(unsigned char* to, unsigned long long* length, const unsigned char* data, unsigned long long n,
                    const unsigned char* context, unsigned long long context_len, const unsigned char* nothing,
                    const unsigned char* nonce, const unsigned char* key) noexcept nogil:
    with gil:
        return _with_cryptography("encrypt", to, data, n, context, context_len, nonce, key)


cdef int _slow_open(unsigned char* to, unsigned long long* length, unsigned char* nothing, const unsigned char* data,
                    unsigned long long n, const unsigned char* context, unsigned long long context_len,
                    const unsigned char* nonce, const unsigned char* key) noexcept nogil:
    with gil:
        return _with_cryptography("decrypt", to, data, n, context, context_len, nonce, key)


cdef int _with_cryptography(str what, unsigned char* to, const unsigned char* data, size_t n, const unsigned char* context,
                            size_t context_len, const unsigned char* nonce, const unsigned char* key) noexcept:
    """AES where the processor has no instructions for it: OpenSSL's, which needs no tables; 0: done."""
    cdef bytes result
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        result = getattr(AESGCM(PyBytes_FromStringAndSize(<const char*>key, 32)), what)(
            PyBytes_FromStringAndSize(<const char*>nonce, WHOLE_NONCE), PyBytes_FromStringAndSize(<const char*>data, n),
            PyBytes_FromStringAndSize(<const char*>context, context_len))
    except Exception:  # InvalidTag, or no memory
        return -1
    memcpy(to, PyBytes_AS_STRING(result), PyBytes_GET_SIZE(result))
    return 0


cdef class Vault_:
    def __init__(self, str cipher not None, bytes key not None, *, fast=None):
        cdef uint8_t nobody[RUN_ID]
        if len(key) != 32 or cipher not in CIPHERS:
            raise ValueError("a store's key has 32 bytes, its cipher is chacha or aes")
        _load()
        self.cipher = cipher
        memset(&self.v, 0, sizeof(Vault))
        if cipher == "chacha":
            self.v.shut = <shut_fn><size_t>_address("crypto_aead_chacha20poly1305_ietf_encrypt")
            self.v.open = <open_fn><size_t>_address("crypto_aead_chacha20poly1305_ietf_decrypt")
        elif hardware_aes() if fast is None else fast:
            self.v.shut = <shut_fn><size_t>_address("crypto_aead_aes256gcm_encrypt")
            self.v.open = <open_fn><size_t>_address("crypto_aead_aes256gcm_decrypt")
        else:
            self.v.shut, self.v.open = _slow_shut, _slow_open
        memcpy(self.v.key, <const char*>key, 32)
        memset(nobody, 0, RUN_ID)
        _derive(&self.v, NAMES, nobody, self.v.names, 16)
        self.v.values.label, self.v.frames.label = VALUES, FRAMES
        _new_run(&self.v, &self.v.values)
        _new_run(&self.v, &self.v.frames)

    def __repr__(self):
        return f"Vault({self.cipher})"

    def __dealloc__(self):
        memset(&self.v, 0, sizeof(Vault))


globals()["Vault"] = Vault_
