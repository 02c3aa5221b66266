"""What the allocator keeps for later, given back to the system. Where the C library has no such call, nothing happens."""

cdef extern from *:
    """
    #include <malloc.h>
    #ifdef __GLIBC__
    static void phloem_give_back(void) { malloc_trim(0); }
    static void phloem_one_arena(void) { mallopt(M_ARENA_MAX, 1); }
    #else
    static void phloem_give_back(void) {}
    static void phloem_one_arena(void) {}
    #endif
    """
    void give_back "phloem_give_back"() noexcept nogil
    void one_arena "phloem_one_arena"() noexcept nogil
