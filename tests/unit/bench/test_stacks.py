"""Stacks of perf: whose they are, what they add up to, and how they are drawn."""

from bench.stacks import Frame, shares, stacks, svg, tree

# As `perf script -F comm,ip,sym,dso` prints: the innermost frame first.
SAID = """\
remora-worker
\tffffffff81e0a6c1 tcp_sendmsg ([kernel.kallsyms])
\t    7f1c12a3b4c5 __send (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t    7f1c0f00b4c5 __pyx_f_5proxy_4fast_2h1_h1_pump (/b/proxy/_fastpath.cpython-311.so)

python
\t    7f1c12a3b4c5 _PyEval_EvalFrameDefault (/usr/bin/python3.11)

remora-worker
\t    7f1c0f00b4c5 __pyx_f_5proxy_4fast_2h1_h1_pump (/b/proxy/_fastpath.cpython-311.so)

remora-worker
\t    7f1c0f99b4c5 aes_gcm_enc<T> (/s/cryptography/hazmat/bindings/_rust.abi3.so)
\t    7f1c0f00b4c5 __pyx_f_5proxy_4fast_2h1_h1_pump (/b/proxy/_fastpath.cpython-311.so)
""".splitlines()
PUMP = Frame("h1.h1_pump", "remora")
SEND = Frame("__send", "other")
KERNEL = Frame("tcp_sendmsg", "kernel")
TLS = Frame("aes_gcm_enc<T>", "TLS")
FOUND = [[PUMP, SEND, KERNEL], [PUMP], [PUMP, TLS]]


def test_only_the_thread_that_was_asked_for_counts_and_the_outermost_frame_comes_first() -> None:
    assert list(stacks(SAID, "remora-worker")) == FOUND


def test_time_belongs_to_who_ran_itself() -> None:
    kinds, functions = shares(FOUND)
    assert kinds == {"kernel": 1, "remora": 1, "TLS": 1}
    assert functions == {KERNEL: 1, PUMP: 1, TLS: 1}


def test_a_frame_has_the_samples_of_all_that_it_called() -> None:
    root = tree(FOUND)
    assert (root.samples, root.below[PUMP].samples) == (3, 3)
    assert root.below[PUMP].below[SEND].samples == 1


def test_the_picture_names_each_frame_with_its_share_and_no_name_breaks_it() -> None:
    picture = svg(tree(FOUND), "a & b")
    assert "<title>h1.h1_pump: 100.0 %</title>" in picture
    assert "<title>aes_gcm_enc&lt;T&gt;: 33.3 %</title>" in picture
    assert "a &amp; b" in picture
