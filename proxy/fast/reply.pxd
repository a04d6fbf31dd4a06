# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Answers that the proxy makes itself. Sans-I/O.
#
# Each says in `remora-error` why, in one stable word, and in its body the same for people. What the
# upstream answers never carries that field from us.
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport strlen

from proxy.fast.emit cimport emit_number, emit_text

cdef extern from *:
    """
    static const char *remora_phrase(unsigned status) {
        switch (status) {
        case 301: return "Moved Permanently";
        case 302: return "Found";
        case 303: return "See Other";
        case 307: return "Temporary Redirect";
        case 308: return "Permanent Redirect";
        case 400: return "Bad Request";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 408: return "Request Timeout";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 417: return "Expectation Failed";
        case 429: return "Too Many Requests";
        case 431: return "Request Header Fields Too Large";
        case 500: return "Internal Server Error";
        case 501: return "Not Implemented";
        case 502: return "Bad Gateway";
        case 503: return "Service Unavailable";
        case 504: return "Gateway Timeout";
        case 505: return "HTTP Version Not Supported";
        default:  return "Error";
        }
    }
    """
    const char* reply_phrase "remora_phrase"(unsigned status) nogil


# Write the whole answer; returns its length (below OUT_EXTRA_BYTES). `reason` is a word of ours,
# NULL: this is no error. `fields` are whole lines. HEAD gets no body, but the length that it would
# have (RFC 9110 section 9.3.2).
cdef inline uint32_t reply_write(
    char* out, uint16_t status, const char* reason, const char* fields, uint32_t fields_bytes,
    bint is_head, bint closes,
) noexcept nogil:
    cdef const char* phrase = reply_phrase(status)
    cdef uint32_t reason_length = <uint32_t>strlen(reason) if reason != NULL else 0
    cdef uint32_t at = emit_text(out, 0, b"HTTP/1.1 ", 9)
    at = emit_number(out, at, status)
    at = emit_text(out, at, b" ", 1)
    at = emit_text(out, at, phrase, <uint32_t>strlen(phrase))
    if reason == NULL:
        at = emit_text(out, at, b"\r\ncontent-length: 0\r\n", 21)
    else:
        at = emit_text(out, at, b"\r\ncontent-type: text/plain\r\ncontent-length: ", 44)
        at = emit_number(out, at, reason_length + 9)
        at = emit_text(out, at, b"\r\nremora-error: ", 16)
        at = emit_text(out, at, reason, reason_length)
        at = emit_text(out, at, b"\r\n", 2)
    if fields_bytes:
        at = emit_text(out, at, fields, fields_bytes)
    if closes:
        at = emit_text(out, at, b"connection: close\r\n", 19)
    at = emit_text(out, at, b"\r\n", 2)
    if is_head or reason == NULL:
        return at
    at = emit_text(out, at, b"remora: ", 8)
    at = emit_text(out, at, reason, reason_length)
    return emit_text(out, at, b"\n", 1)
