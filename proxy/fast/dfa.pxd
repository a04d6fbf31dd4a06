# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Regular expressions as tables (proxy/traffic/regex.py makes them): one step a byte, whatever
# the expression and the word.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

from proxy.fast.traffic cimport dfa_t, traffic_t

cdef enum:
    DFA_START = 0


# The state after one more byte. A word that comes in pieces starts in DFA_START.
cdef inline uint16_t dfa_step(
    const traffic_t* t, int32_t dfa, uint16_t state, uint8_t byte,
) noexcept nogil:
    cdef const dfa_t* d = &t.dfas[dfa]
    return t.steps[d.steps.first + <uint32_t>state * d.class_count + d.classes[byte]]


# Does the word that led to this state match, as a whole?
cdef inline bint dfa_accepts(const traffic_t* t, int32_t dfa, uint16_t state) noexcept nogil:
    return t.accepting[t.dfas[dfa].accepting.first + state] != 0


cdef inline bint dfa_matches(
    const traffic_t* t, int32_t dfa, const char* word, uint32_t word_bytes,
) noexcept nogil:
    cdef uint16_t state = DFA_START
    cdef uint32_t i
    for i in range(word_bytes):
        state = dfa_step(t, dfa, state, <uint8_t>word[i])
    return dfa_accepts(t, dfa, state)
