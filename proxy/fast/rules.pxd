# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. Authorization policies as the data plane reads them: flat arrays that refer to each other by
# index. Python fills them (proxy/_policy.pxd), policy.pxd reads them.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from proxy.fast.limits cimport LOG_TARGET_BYTES_MAX

cdef struct value_t:            # what a field is compared with
    uint32_t at                 # in policies_t.text: the word, or 16 bytes of an address
    uint32_t bytes              # of the word; bits of the address; or the port
    uint8_t  form               # FORM_*

cdef struct match_t:            # a field and its values, one of which must fit (or none: is_not)
    uint32_t value_first
    uint32_t value_count
    uint32_t name_at            # FIELD_HEADER: its name, lower case, in policies_t.text
    uint32_t name_bytes
    uint8_t  field              # FIELD_*
    uint8_t  is_not

cdef struct group_t:            # matches that must all hold
    uint32_t first
    uint32_t count

# One of `from`, one of `to` (no groups: anybody, anything), all of `when`.
cdef struct rule_t:
    uint32_t from_first         # in policies_t.groups
    uint32_t from_count
    uint32_t to_first
    uint32_t to_count
    group_t  conditions         # of `when`
    uint8_t  needs_request      # some field is one that connections do not have

cdef struct policy_t:
    uint32_t rule_first
    uint32_t rule_count
    uint8_t  action             # ACTION_*
    uint8_t  is_dry_run
    uint8_t  slot               # where it is counted, SLOT_* or Python's number

cdef struct policies_t:         # all that apply to this pod: flat arrays, own
    policy_t* policies
    rule_t*  rules
    group_t* groups
    match_t* matches
    value_t* values
    char*    text
    uint32_t policy_count
    uint8_t  has_paths          # some field is a path: it must mean one thing

cdef struct word_t:             # bytes of somebody else
    const char* at
    uint32_t bytes

cdef struct probe_t:            # a probe of our own pod that the kubelet makes
    uint32_t path_bytes
    uint16_t port
    char     path[LOG_TARGET_BYTES_MAX]
