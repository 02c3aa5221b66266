"""Encryption of everything that a store writes (vault.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .types cimport Buffer

cdef enum:
    RUN_ID = 10  # random bytes that say from which run of a store something is
    NONCE = 16  # RUN_ID, and a number of 48 bits that the run uses once
    TAG = 16
    SHUT = NONCE + TAG  # bytes that a value is longer when it is encrypted
    CHUNK = 1024  # bytes of a block that are encrypted together: one message costs no more, and damage what is near it
    HIDDEN = 16  # bytes of a name that is hidden

ctypedef int (*shut_fn)(unsigned char* to, unsigned long long* length, const unsigned char* data, unsigned long long n,
                        const unsigned char* context, unsigned long long context_len, const unsigned char* nothing,
                        const unsigned char* nonce, const unsigned char* key) noexcept nogil
ctypedef int (*open_fn)(unsigned char* to, unsigned long long* length, unsigned char* nothing, const unsigned char* data,
                        unsigned long long n, const unsigned char* context, unsigned long long context_len,
                        const unsigned char* nonce, const unsigned char* key) noexcept nogil

cdef struct Run:  # what one run of a store encrypts with; belongs to one thread
    uint8_t label
    uint8_t ident[RUN_ID]
    uint8_t key[32]
    uint64_t count  # of nonces that were used

cdef struct Vault:
    shut_fn shut
    open_fn open
    uint8_t key[32]  # the store's; what encrypts is made from it for each run
    uint8_t names[16]  # of the hash that hides subjects and keys
    Run values  # of whoever moves: the mover's thread, or the loop's when there is none
    Run frames  # of the thread that writes the journal

cdef struct Opener:  # reads what was encrypted; belongs to one thread. vault NULL: nothing is encrypted
    Vault* vault
    uint8_t label  # of the run whose key is known
    uint8_t ident[RUN_ID]
    uint8_t key[32]
    Buffer plain  # the value that was opened last

cdef struct Sealed:  # an encrypted block, of which only what is looked at is opened
    Opener* opener
    const char* data
    size_t size
    char key[12]  # its key in LMDB
    Buffer plain
    size_t head
    size_t tail
    uint32_t count  # chunks between them
    uint8_t* state  # of each: 0 not opened, 1 opened, 2 damaged
    uint32_t cap

cdef void vault_shut(Vault* v, const char* context, size_t context_len, const char* data, size_t n, char* to) noexcept nogil
cdef bint vault_open(Opener* o, const char* context, size_t context_len, const char* data, size_t n, char* to) noexcept nogil
cdef void vault_hide(Vault* v, uint32_t what, uint32_t ident, const char* name, size_t n, char* to) noexcept nogil
cdef char* opener_room(Opener* o, size_t n) noexcept nogil
cdef void opener_free(Opener* o) noexcept nogil

cdef size_t sealed_size(size_t head, size_t tail, size_t plain) noexcept nogil
cdef void sealed_put(Vault* v, const char* key, const char* data, size_t head, size_t tail, size_t n, char* to) noexcept nogil
cdef bint sealed_begin(Sealed* s, Opener* o, const char* key, const char* data, size_t size, size_t head) noexcept nogil
cdef bint sealed_need(Sealed* s, size_t start, size_t end) noexcept nogil
cdef void sealed_free(Sealed* s) noexcept nogil

cdef void frame_shut(Vault* v, char* frame, size_t head, size_t payload) noexcept nogil
cdef bint frame_open(Opener* o, const char* frame, size_t head, size_t payload, char* to) noexcept nogil

cdef class Vault_:  # called Vault in Python
    cdef Vault v
    cdef readonly str cipher
    cdef object slow  # what encrypts where libsodium does not
