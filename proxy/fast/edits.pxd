# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. What a route changes in heads, kept with the request: the snapshot that said so may be gone
# before the answer is here. Sans-I/O.
#
# A buffer holds one item after the other: an edit_head_t, the name, the value.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from proxy.fast.buf cimport buf_append, buf_at, buf_length
from proxy.fast.chars cimport chars_equal
from proxy.fast.emit cimport emit_text
from proxy.fast.reasons cimport EDIT_ADD, EDIT_COUNT, EDIT_REMOVE
from proxy.fast.traffic cimport edit_t, run_t, traffic_t
from proxy.fast.types cimport buf_pool_t, buf_t, h1_field_t, h1_head_t

cdef enum:                      # edit_head_t.kind, besides EDIT_*
    EDIT_HOST = 16              # the value stands in place of Host
    EDIT_PATH = 17              # ... of path and query

cdef struct edit_head_t:
    uint16_t name_bytes
    uint16_t value_bytes
    uint8_t  kind
    uint8_t  is_response


# Add one item. 0: no memory.
cdef inline bint edits_add(
    buf_pool_t* pool, buf_t** edits, uint8_t kind, bint is_response, const char* name,
    uint32_t name_bytes, const char* value, uint32_t value_bytes,
) noexcept nogil:
    cdef edit_head_t head
    head.name_bytes = <uint16_t>name_bytes
    head.value_bytes = <uint16_t>value_bytes
    head.kind = kind
    head.is_response = is_response
    return (buf_append(pool, edits, <const char*>&head, sizeof(edit_head_t))
            and buf_append(pool, edits, name, name_bytes)
            and buf_append(pool, edits, value, value_bytes))


# Add what a rule, or one of its backends, says. 0: no memory.
cdef inline bint edits_add_run(
    buf_pool_t* pool, buf_t** edits, const traffic_t* t, const run_t* run, bint is_response,
) noexcept nogil:
    cdef uint32_t i
    cdef const edit_t* edit
    for i in range(run.first, run.first + run.count):
        edit = &t.edits[i]
        if not edits_add(pool, edits, edit.kind, is_response, t.text + edit.name.at,
                         edit.name.bytes, t.text + edit.value.at, edit.value.bytes):
            return False
    return True


# The item at `at`; moves `at` behind it. False: there is none.
cdef inline bint edits_next(
    buf_t* edits, uint32_t* at, edit_head_t* head, const char** name, const char** value,
) noexcept nogil:
    if edits == NULL or at[0] >= buf_length(edits):
        return False
    memcpy(head, buf_at(edits, edits.start + at[0]), sizeof(edit_head_t))
    name[0] = buf_at(edits, edits.start + at[0] + sizeof(edit_head_t))
    value[0] = name[0] + head.name_bytes
    at[0] += <uint32_t>sizeof(edit_head_t) + head.name_bytes + head.value_bytes
    return True


# The value of the item of a kind; NULL: there is none.
cdef inline const char* edits_find(buf_t* edits, uint8_t kind, uint32_t* length) noexcept nogil:
    cdef edit_head_t head
    cdef const char* name = NULL
    cdef const char* value = NULL
    cdef uint32_t at = 0
    while edits_next(edits, &at, &head, &name, &value):
        if head.kind == kind:
            length[0] = head.value_bytes
            return value
    return NULL


# Fields that are set anew, or removed, are not forwarded as they came.
cdef inline void edits_drop(
    buf_t* edits, bint is_response, h1_head_t* h1, const char* source,
) noexcept nogil:
    cdef edit_head_t head
    cdef const char* name = NULL
    cdef const char* value = NULL
    cdef uint32_t at = 0
    cdef uint32_t i
    cdef h1_field_t* field
    while edits_next(edits, &at, &head, &name, &value):
        if head.kind >= EDIT_COUNT or head.is_response != is_response or head.kind == EDIT_ADD:
            continue
        for i in range(h1.field_count):
            field = &h1.fields[i]
            if not field.is_dropped and chars_equal(
                    source + field.name, field.name_bytes, name, head.name_bytes):
                field.is_dropped = 1
                h1.dropped_count += 1


# Write the fields that are set or added.
cdef inline uint32_t edits_emit(
    buf_t* edits, bint is_response, char* out, uint32_t out_at,
) noexcept nogil:
    cdef edit_head_t head
    cdef const char* name = NULL
    cdef const char* value = NULL
    cdef uint32_t at = 0
    while edits_next(edits, &at, &head, &name, &value):
        if head.kind >= EDIT_REMOVE or head.is_response != is_response:
            continue
        out_at = emit_text(out, out_at, name, head.name_bytes)
        out_at = emit_text(out, out_at, b": ", 2)
        out_at = emit_text(out, out_at, value, head.value_bytes)
        out_at = emit_text(out, out_at, b"\r\n", 2)
    return out_at
