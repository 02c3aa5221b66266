"""Inline functions over bytes: hashing, numbers, tokens, subject rules. No allocation, no state.

Subject rules are those of NATS: tokens separated by ``.``, none empty; ``*`` and ``>`` are wildcards only
as whole tokens, ``>`` only as the last.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef inline uint32_t hash_bytes(const char* p, size_t n, uint64_t seed) noexcept nogil:
    """Seeded, so that a peer that does not know the seed cannot choose colliding subjects."""
    cdef uint64_t h = seed ^ (n * <uint64_t>0x9E3779B97F4A7C15)
    cdef uint64_t w
    while n >= 8:
        memcpy(&w, p, 8)
        h = (h ^ w) * <uint64_t>0xFF51AFD7ED558CCD
        h ^= h >> 32
        p += 8
        n -= 8
    if n:
        w = 0
        memcpy(&w, p, n)
        h = (h ^ w) * <uint64_t>0xFF51AFD7ED558CCD
        h ^= h >> 32
    h *= <uint64_t>0xC4CEB9FE1A85EC53
    return <uint32_t>(h >> 32)


cdef inline uint64_t next_random(uint64_t* state) noexcept nogil:
    """xorshift64*: good enough to pick queue members, not for secrets."""
    cdef uint64_t x = state[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    state[0] = x
    return x * <uint64_t>0x2545F4914F6CDD1D


cdef inline uint32_t random_below(uint64_t* state, uint32_t n) noexcept nogil:
    return <uint32_t>(((next_random(state) >> 32) * n) >> 32)


cdef inline size_t put_number(char* to, uint64_t value) noexcept nogil:
    """Decimal digits of ``value`` (at most 20); their count."""
    cdef char digits[20]
    cdef size_t n = 0
    cdef size_t i
    while True:
        digits[n] = <char>(48 + value % 10)
        value //= 10
        n += 1
        if value == 0:
            break
    for i in range(n):
        to[i] = digits[n - 1 - i]
    return n


cdef inline int64_t parse_size(const char* p, size_t n) noexcept nogil:
    """1 to 9 digits as a number; -1 for anything else. Nine digits cannot overflow."""
    cdef int64_t value = 0
    cdef size_t i
    if n == 0 or n > 9:
        return -1
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return -1
        value = value * 10 + (p[i] - 48)
    return value


cdef inline bint is_blank(char b) noexcept nogil:
    return b == c' ' or b == c'\t'


cdef inline bint equals(const char* a, size_t n, const char* b, size_t m) noexcept nogil:
    return n == m and memcmp(a, b, n) == 0


cdef inline bint starts_with(const char* p, size_t n, const char* prefix, size_t m) noexcept nogil:
    return n >= m and memcmp(p, prefix, m) == 0


cdef inline bint is_verb(const char* p, const char* e, const char* verb, size_t n) noexcept nogil:
    """Whether ``p`` begins with ``verb`` (given in upper case), in any case."""
    cdef size_t i
    cdef char b
    if <size_t>(e - p) < n:
        return False
    for i in range(n):
        b = p[i]
        if c'a' <= b <= c'z':
            b -= 32
        if b != verb[i]:
            return False
    return True


cdef inline bint valid_subject(const char* p, size_t n, bint literal) noexcept nogil:
    """A subject to subscribe to; with ``literal`` one to publish to (no wildcards)."""
    cdef size_t start = 0
    cdef size_t i
    cdef size_t length
    if n == 0:
        return False
    for i in range(n + 1):
        if i == n or p[i] == c'.':
            length = i - start
            if length == 0:
                return False
            if length == 1:
                if p[start] == c'>' and (literal or i != n):
                    return False
                if p[start] == c'*' and literal:
                    return False
            start = i + 1
    return True


cdef inline bint has_wildcard(const char* p, size_t n) noexcept nogil:
    """Whether any whole token is ``*`` or ``>``."""
    cdef size_t i
    for i in range(n):
        if p[i] == c'*' or p[i] == c'>':
            if (i == 0 or p[i - 1] == c'.') and (i + 1 == n or p[i + 1] == c'.'):
                return True
    return False


cdef inline bint overlaps(const char* a, size_t n, const char* b, size_t m) noexcept nogil:
    """Whether some subject matches both patterns."""
    cdef size_t i
    cdef size_t j
    while True:
        i = 0
        while i < n and a[i] != c'.':
            i += 1
        j = 0
        while j < m and b[j] != c'.':
            j += 1
        if (i == 1 and a[0] == c'>') or (j == 1 and b[0] == c'>'):
            return True
        if not ((i == 1 and a[0] == c'*') or (j == 1 and b[0] == c'*')) and not equals(a, i, b, j):
            return False
        if i == n or j == m:
            return i == n and j == m
        a += i + 1
        n -= i + 1
        b += j + 1
        m -= j + 1


cdef inline bint pattern_matches(const char* pattern, size_t n, const char* text, size_t m) noexcept nogil:
    """Whether ``pattern`` covers the literal ``text``."""
    cdef size_t i
    cdef size_t j
    while True:
        i = 0
        while i < n and pattern[i] != c'.':
            i += 1
        j = 0
        while j < m and text[j] != c'.':
            j += 1
        if i == 1 and pattern[0] == c'>' and i == n:
            return True
        if not (i == 1 and pattern[0] == c'*') and not equals(pattern, i, text, j):
            return False
        if i == n or j == m:
            return i == n and j == m
        pattern += i + 1
        n -= i + 1
        text += j + 1
        m -= j + 1


cdef inline bint covers(const char* pattern, size_t n, const char* subject, size_t m) noexcept nogil:
    """Whether ``pattern`` covers all of ``subject``, which may be a pattern itself."""
    cdef size_t i
    cdef size_t j
    cdef bint any
    while True:
        i = 0
        while i < n and pattern[i] != c'.':
            i += 1
        j = 0
        while j < m and subject[j] != c'.':
            j += 1
        any = i == 1 and pattern[0] == c'*'
        if i == 1 and pattern[0] == c'>':
            return True
        if j == 1 and subject[0] == c'>':
            return False
        if not any and not equals(pattern, i, subject, j):
            return False
        if i == n or j == m:
            return i == n and j == m
        pattern += i + 1
        n -= i + 1
        subject += j + 1
        m -= j + 1
