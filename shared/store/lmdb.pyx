"""LMDB for compiled code. py-lmdb's extension exports a versioned table of function pointers (``lmdb_api_v09``); taking
it from there means one library for the hot path, for Python and for ``python -m lmdb``, and nothing else to install.

The table begins with its versions. If they are not what the declarations in lmdb.pxd were written for, nothing is
called and the import says why.
"""

import ctypes

from libc.stddef cimport size_t


cdef Api* _find() except NULL:
    import lmdb.cpython as extension

    library = ctypes.CDLL(extension.__file__)
    for name in ("lmdb_api_v09", "lmdb_api_sys"):
        try:
            table = <Api*><size_t>ctypes.addressof(ctypes.c_char.in_dll(library, name))
        except ValueError:
            continue
        if table.major == 0 and table.minor == 9 and table.data_version == 1:
            return table
    raise ImportError(
        "py-lmdb's table of functions is not the one phloem was written for (LMDB 0.9, data format 1); "
        'install it with: pip install "lmdb>=3.0,<4"'
    )


lmdb = _find()
