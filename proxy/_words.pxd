# cython: language_level=3, cdivision=True
#
# Words and addresses of C as Python's: for _fastpath.pyx and its parts only.
from libc.stdint cimport uint32_t

from proxy.fast.addr cimport ADDR_TEXT_BYTES, addr_to_text
from proxy.fast.address cimport addr_t


cdef inline tuple address_to_python(const addr_t* address):
    cdef char text[ADDR_TEXT_BYTES]
    return (addr_to_text(address, text).decode("ascii"), address.port)


cdef inline str text_to_python(const char* text, uint32_t length):
    return text[:length].decode("latin-1")
