# cython: language_level=3, cdivision=True
#
# What workers tell, as Python reads it: for _fastpath.pyx only.
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from proxy.fast.messages cimport dump_t, record_t


# Room for the live connections of a worker.
cdef inline dump_t* dump_new(uint32_t row_capacity) except NULL:
    cdef dump_t* dump = <dump_t*>calloc(1, sizeof(dump_t))
    if dump == NULL:
        raise MemoryError
    dump.row_capacity = row_capacity
    dump.rows = <record_t*>calloc(max(row_capacity, 1), sizeof(record_t))
    if dump.rows == NULL:
        free(dump)
        raise MemoryError
    return dump


cdef inline void dump_free(dump_t* dump) noexcept:
    if dump != NULL:
        free(dump.rows)
        free(dump)
