# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L6. The worker: one loop round, the tick. A passive object: a thread or a test drives it.
#
# A tick does, in this order, and the order carries meaning:
#   1. wait for events, no longer than the next timer, not at all while a flow waits for its turn
#   2. read the clock, adopt the newest snapshot: from here to the end of the tick it is the truth
#   3. dispatch events: idle upstream connections first, then commands, accepts, sockets
#   4. give flows that had used up their turn another one
#   5. fire timers
#   6. free what was closed, tell Python what it waits for
# Nothing is freed before 6, so that pointers taken in 3 to 5 stay valid and stale events find a
# connection that is marked closed, or none at all (generation).
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from proxy.fast.addr cimport addr_from_sockaddr, addr_is_loopback
from proxy.fast.atomics cimport (
    load_acquire, load_pointer, load_relaxed, store_relaxed, store_release,
)
from proxy.fast.authz cimport authz_judge_again, denial_t
from proxy.fast.buf cimport buf_pool_free
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.choose cimport choose_dial_again
from proxy.fast.conn cimport (
    conn_arm_timer, conn_close, conn_deadline_ms, conn_reap, conn_to_record, conn_unqueue_ready,
)
from proxy.fast.fleet cimport fleet_free, fleet_in_flight, fleet_init
from proxy.fast.golden cimport golden_free, golden_init
from proxy.fast.h1 cimport h1_drain, h1_on_deadline, h1_on_timeout, h1_pump, h1_resume
from proxy.fast.h1_end cimport h1_pump_linger
from proxy.fast.h1_response cimport h1_is_silent
from proxy.fast.h1_upstream cimport h1_dial_failed
from proxy.fast.intake cimport intake_dial_failed, intake_on_timeout, intake_pump
from proxy.fast.limits cimport (
    ACCEPTS_PER_TICK_MAX, DENIALS_MAX, LISTENERS_MAX, PEERS_MAX, POOLS_MAX, QUESTIONS_MAX,
    TICK_EVENTS_MAX, WORKER_SLICE_NS,
)
from proxy.fast.listener cimport (
    listener_accept, listener_close, listener_drain, listener_set_paused,
)
from proxy.fast.messages cimport (
    COMMAND_CLOSE_ALL, COMMAND_CLOSE_ONE, COMMAND_DUMP, COMMAND_LISTEN, COMMAND_PEER,
    COMMAND_RECORDS, COMMAND_STOP_ACCEPTING, command_t, dump_t, peer_answer_t, peer_question_t,
    record_t, request_record_t,
)
from proxy.fast.peer cimport peer_free_all
from proxy.fast.pipes cimport pipe_pool_free
from proxy.fast.platform cimport (
    CLOCK_MONOTONIC, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI,
    EPOLLRDHUP, EPOLL_CLOEXEC, EPOLL_CTL_ADD, SOL_SOCKET, SO_ERROR, ask_slice, clock_us, close,
    epoll_create1, epoll_ctl, epoll_event, epoll_wait, eventfd, getrandom, getsockname,
    getsockopt, read, sockaddr, sockaddr_storage, socklen_t, write,
)
from proxy.fast.pool cimport pool_close_idle, up_close
from proxy.fast.reasons cimport (
    DIRECTION_INBOUND, DIRECTION_OUTBOUND, EVENT_STALE, EVENT_WAKE_FAILED, FP_DONE, FP_OK,
    PHASE_CONNECTING, PHASE_HALF_OPEN, REASON_CONNECT_TIMEOUT, REASON_DOWNSTREAM_RESET,
    REASON_HALF_OPEN_TIMEOUT, REASON_IDLE_TIMEOUT, REASON_OK, REASON_OPEN, REASON_OPERATOR,
    REASON_STOPPED, REASON_TLS_TIMEOUT, TLS_FAILED_TIMEOUT,
)
from proxy.fast.relay cimport relay_failure, relay_pump
from proxy.fast.ring cimport ring_free, ring_init, ring_peek, ring_take
from proxy.fast.shake cimport shake_answered, shake_failed, shake_free_questions
from proxy.fast.slab cimport slab_at, slab_find, slab_free, slab_init, slab_slot_count
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.stats cimport count
from proxy.fast.terminate cimport terminate_pump
from proxy.fast.timer cimport timer_advance, timer_next_due, timer_wait_ms, wheel_init
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_HTTP, MODE_INTAKE, MODE_LINGER, MODE_RELAY, MODE_TLS, TIMER_CONN,
    TIMER_LISTENER, TIMER_UP, TOKEN_COMMANDS, TOKEN_CONN, TOKEN_LISTENER, TOKEN_UP, UPSTREAM,
    conn_t, exchange_t, listener_t, peer_t, pool_t, request_log_t, side_t, slab_head_t, sni_t,
    timer_node_t, tls_t, up_t, worker_t,
)
from proxy.fast.upstream cimport (
    TOKEN_KIND_SHIFT, TOKEN_SLOT_MASK, TOKEN_SLOT_SHIFT, reserve_hold, token_make,
    upstream_dialled, upstream_set_local, upstream_set_options, upstream_shake,
)
from proxy.fast.waiters cimport waiters_serve


# ---- life -------------------------------------------------------------------------------------

# Set up a zeroed worker. FP_OK, or FP_DONE with errno set; worker_free() is due in both cases.
cdef inline int worker_init(
    worker_t* w, int index, uint32_t connections_max, uint32_t record_count, uint32_t command_count,
    int record_fd,
) noexcept nogil:
    cdef epoll_event event
    cdef int i
    w.index = index
    w.record_fd = record_fd
    w.connections_max = connections_max
    w.next_id = (<uint64_t>index << 46) + 1     # below 2^53: exact in JSON
    for i in range(LISTENERS_MAX):
        w.listeners[i].fd = -1
    slab_init(&w.conns, sizeof(conn_t), connections_max)
    slab_init(&w.snis, sizeof(sni_t), connections_max)
    slab_init(&w.ups, sizeof(up_t), connections_max * 2)
    slab_init(&w.pools, sizeof(pool_t), POOLS_MAX)
    slab_init(&w.exchanges, sizeof(exchange_t), connections_max)
    slab_init(&w.request_logs, sizeof(request_log_t), connections_max)
    slab_init(&w.tlss, sizeof(tls_t), connections_max * 3)
    slab_init(&w.peers, sizeof(peer_t), PEERS_MAX)
    golden_init(w)
    w.nobody.fd = -1
    getrandom(w.random, sizeof(w.random), 0)
    w.now_us = clock_us(CLOCK_MONOTONIC)
    w.now_ms = w.now_us // 1000
    wheel_init(&w.wheel, w.now_ms)
    w.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    w.command_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    w.reserve_fd = -1
    if w.epoll_fd < 0 or w.command_fd < 0 or not reserve_hold(w) or not fleet_init(&w.fleet):
        return FP_DONE
    if not ring_init(&w.commands, sizeof(command_t), command_count):
        return FP_DONE
    if not ring_init(&w.records, sizeof(record_t), record_count):
        return FP_DONE
    if not ring_init(&w.request_records, sizeof(request_record_t), record_count):
        return FP_DONE
    if not ring_init(&w.questions, sizeof(peer_question_t), QUESTIONS_MAX):
        return FP_DONE
    if not ring_init(&w.denials, sizeof(denial_t), DENIALS_MAX):
        return FP_DONE
    event.events = EPOLLIN
    event.data.u64 = token_make(TOKEN_COMMANDS, 0, 0)
    if epoll_ctl(w.epoll_fd, EPOLL_CTL_ADD, w.command_fd, &event) < 0:
        return FP_DONE
    return FP_OK


# Free what worker_init() made. The worker must have stopped, or never have run.
cdef inline void worker_free(worker_t* w) noexcept nogil:
    slab_free(&w.conns)
    slab_free(&w.snis)
    slab_free(&w.ups)
    slab_free(&w.pools)
    slab_free(&w.exchanges)
    slab_free(&w.request_logs)
    slab_free(&w.tlss)
    peer_free_all(w)
    slab_free(&w.peers)
    golden_free(w)
    fleet_free(&w.fleet)
    buf_pool_free(&w.bufs)
    pipe_pool_free(&w.pipes)
    shake_free_questions(w)
    ring_free(&w.commands)
    ring_free(&w.records)
    ring_free(&w.request_records)
    ring_free(&w.questions)
    ring_free(&w.denials)
    if w.epoll_fd >= 0:
        close(w.epoll_fd)
    if w.command_fd >= 0:
        close(w.command_fd)
    if w.reserve_fd >= 0:
        close(w.reserve_fd)


# Make a thread that waits on an eventfd look up.
cdef inline void worker_wake(worker_t* w, int fd) noexcept nogil:
    cdef uint64_t one = 1
    if write(fd, &one, sizeof(uint64_t)) < 0:       # only at 2^64 - 2 unread wake-ups
        count(&w.stats.events[EVENT_WAKE_FAILED])


# ---- events -----------------------------------------------------------------------------------

# What an event says about a side, in our words.
cdef inline void worker_note_event(side_t* side, uint32_t events) noexcept nogil:
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        side.is_readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        side.is_hungup = 1
    if events & EPOLLPRI:
        side.is_readable = 1
        side.is_urgent = 1
    if events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        side.is_writable = 1


# The dial failed. Who asks over HTTP gets an answer; who said nothing yet may still do so.
cdef inline void worker_on_dial_failed(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    if c.mode == MODE_HTTP:
        h1_dial_failed(w, c, reason)
        return
    reason = choose_dial_again(w, c, reason)
    if reason == REASON_OPEN:
        conn_arm_timer(w, c)
    elif c.mode == MODE_INTAKE:
        intake_dial_failed(w, c, reason)
    else:
        conn_close(w, c, reason)


# Give a connection its turn, whatever it is doing.
cdef inline void worker_pump(worker_t* w, conn_t* c) noexcept nogil:
    if c.mode == MODE_RELAY:
        relay_pump(w, c, DOWNSTREAM)
        relay_pump(w, c, UPSTREAM)
    elif c.mode == MODE_HTTP:
        h1_pump(w, c)
    elif c.mode == MODE_LINGER:
        h1_pump_linger(w, c)
    elif c.mode == MODE_TLS:
        terminate_pump(w, c)
    else:
        intake_pump(w, c)


# An event of side `i` of a relay. The side's own flow comes first: what it said before an error.
cdef inline void worker_on_relay(
    worker_t* w, conn_t* c, int i, uint32_t events, bint was_writable,
) noexcept nogil:
    cdef int error = 0
    cdef socklen_t length = sizeof(int)
    relay_pump(w, c, i)
    if not was_writable or events & EPOLLERR:
        relay_pump(w, c, 1 - i)
    if events & EPOLLERR and c.close_reason == REASON_OPEN:
        # Nobody reads this side any more (its FIN was passed on), so only the event told us.
        getsockopt(c.sides[i].fd, SOL_SOCKET, SO_ERROR, &error, &length)
        conn_close(w, c, relay_failure(i, error))


# An event of side `i` of a connection.
cdef inline void worker_on_conn(worker_t* w, conn_t* c, int i, uint32_t events) noexcept nogil:
    cdef bint was_writable = c.sides[i].is_writable
    cdef uint8_t reason
    if c.close_reason != REASON_OPEN:
        return
    if i == UPSTREAM and c.phase == PHASE_CONNECTING:
        was_writable = 0                    # once it stands, its flows get a turn
        if c.up.side.tls != NULL:
            worker_note_event(&c.up.side, events)
            reason = upstream_shake(w, c)
        elif events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            reason = upstream_dialled(w, c, events)
        else:
            return
        if reason != REASON_OPEN:
            worker_on_dial_failed(w, c, reason)
            return
        conn_arm_timer(w, c)
        if c.phase == PHASE_CONNECTING:
            return
    worker_note_event(c.sides[i], events)
    if c.mode == MODE_RELAY:
        worker_on_relay(w, c, i, events, was_writable)
    elif c.mode == MODE_HTTP:
        if i == DOWNSTREAM and events & (EPOLLERR | EPOLLHUP):
            conn_close(w, c, REASON_DOWNSTREAM_RESET)   # nobody is there for the answer
        elif not was_writable and i == UPSTREAM:
            h1_resume(w, c)
        else:
            h1_pump(w, c)
    else:
        worker_pump(w, c)


# An event of a connection to an upstream.
cdef inline void worker_on_up(worker_t* w, up_t* up, uint32_t events) noexcept nogil:
    if up.is_dead:
        return
    if up.owner != NULL:
        worker_on_conn(w, up.owner, UPSTREAM, events)
        return
    # Idle, and it says something: never for the next request. But EPOLLIN alone may be late word of
    # bytes that were read already, earlier in this batch, when it still had an owner: look.
    if events & EPOLLIN:
        up.side.is_readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI) or not h1_is_silent(w, up):
        up_close(w, up, False)


# Idle upstream connections come first among the events of a tick: one that closed, or said what
# nobody asked for, must not be taken by a request of the same tick.
cdef inline void worker_on_idle_event(
    worker_t* w, uint64_t token, uint32_t events,
) noexcept nogil:
    cdef slab_head_t* head
    if token >> TOKEN_KIND_SHIFT != TOKEN_UP:
        return
    head = slab_find(
        &w.ups, <uint32_t>(token >> TOKEN_SLOT_SHIFT) & TOKEN_SLOT_MASK, <uint32_t>token)
    if head != NULL and (<up_t*>head).owner == NULL:
        worker_on_up(w, <up_t*>head, events)


cdef inline void worker_on_event(worker_t* w, uint64_t token, uint32_t events) noexcept nogil:
    cdef uint32_t kind = <uint32_t>(token >> TOKEN_KIND_SHIFT)
    cdef uint32_t slot = <uint32_t>(token >> TOKEN_SLOT_SHIFT) & TOKEN_SLOT_MASK
    cdef slab_head_t* head
    if kind == TOKEN_COMMANDS:
        worker_on_commands(w)
    elif kind == TOKEN_LISTENER:
        if w.listeners[slot].fd >= 0 and not w.listeners[slot].is_paused:
            listener_accept(w, &w.listeners[slot], ACCEPTS_PER_TICK_MAX)
    else:
        head = slab_find(
            &w.conns if kind == TOKEN_CONN else &w.ups, slot, <uint32_t>token)
        if head == NULL:
            count(&w.stats.events[EVENT_STALE])
        elif kind == TOKEN_CONN:
            worker_on_conn(w, <conn_t*>head, DOWNSTREAM, events)
        else:
            worker_on_up(w, <up_t*>head, events)


# ---- timers -----------------------------------------------------------------------------------

# The timer of a connection fired: too late for what it does, or just the lazy look.
cdef inline void worker_on_conn_timer(worker_t* w, conn_t* c) noexcept nogil:
    if c.close_reason != REASON_OPEN:
        return
    if w.now_ms < conn_deadline_ms(w, c):
        conn_arm_timer(w, c)
    elif c.mode == MODE_HTTP and h1_on_deadline(w, c):
        pass
    elif c.mode == MODE_LINGER:
        conn_close(w, c, REASON_OK)
    elif c.mode == MODE_TLS:
        if c.down.tls != NULL:
            shake_failed(w, c.down.tls, TLS_FAILED_TIMEOUT)
        conn_close(w, c, REASON_TLS_TIMEOUT)
    elif c.phase == PHASE_CONNECTING and c.up != NULL and c.up.side.tls != NULL:
        shake_failed(w, c.up.side.tls, TLS_FAILED_TIMEOUT)
        worker_on_dial_failed(w, c, REASON_TLS_TIMEOUT)
    elif c.phase == PHASE_CONNECTING:
        worker_on_dial_failed(w, c, REASON_CONNECT_TIMEOUT)
    elif c.mode == MODE_HTTP:
        h1_on_timeout(w, c)
    elif c.mode == MODE_INTAKE and (
            c.dial_reason or c.pending != NULL or c.up == NULL or c.up.side.is_readable):
        intake_on_timeout(w, c)
    elif c.phase == PHASE_HALF_OPEN:
        conn_close(w, c, REASON_HALF_OPEN_TIMEOUT)
    else:
        conn_close(w, c, REASON_IDLE_TIMEOUT)
    if c.close_reason == REASON_OPEN:
        conn_arm_timer(w, c)            # no open connection is without a timer


cdef inline void worker_fire_timers(worker_t* w) noexcept nogil:
    cdef timer_node_t* node
    cdef listener_t* listener
    timer_advance(&w.wheel, w.now_ms)
    while True:
        node = timer_next_due(&w.wheel)
        if node == NULL:
            return
        if node.kind == TIMER_CONN:
            worker_on_conn_timer(w, <conn_t*>node.owner)
        elif node.kind == TIMER_UP:
            up_close(w, <up_t*>node.owner, False)       # idle for long enough
        else:
            listener = <listener_t*>node.owner
            listener_set_paused(w, listener, False)


# ---- commands ---------------------------------------------------------------------------------

# Take over a listening socket: a = fd, b = direction, c = target, d = the caller's id; id = whether
# policies apply though it is not the inbound one.
cdef inline void worker_listen(worker_t* w, const command_t* command) noexcept nogil:
    cdef listener_t* listener
    cdef sockaddr_storage storage
    cdef socklen_t length = sizeof(sockaddr_storage)
    cdef epoll_event event
    FP_ASSERT(w.listener_count < LISTENERS_MAX)     # Engine.listen() counts
    listener = &w.listeners[w.listener_count]
    memset(listener, 0, sizeof(listener_t))
    listener.fd = command.a
    listener.direction = <uint8_t>command.b
    listener.target = command.c
    listener.id = command.d
    listener.is_judged = listener.direction == DIRECTION_INBOUND or command.id != 0
    listener.timer.kind = TIMER_LISTENER
    listener.timer.owner = listener
    if getsockname(listener.fd, <sockaddr*>&storage, &length) == 0:
        addr_from_sockaddr(&listener.bound, &storage)
    listener.is_fresh = 1
    upstream_set_options(listener.fd, w.snapshot)
    if listener.direction == DIRECTION_OUTBOUND or addr_is_loopback(&listener.bound):
        upstream_set_local(listener.fd)
    event.events = EPOLLIN
    event.data.u64 = token_make(TOKEN_LISTENER, w.listener_count, 0)
    w.listener_count += 1
    store_relaxed(&w.live_listeners, w.live_listeners + 1)
    if epoll_ctl(w.epoll_fd, EPOLL_CTL_ADD, listener.fd, &event) < 0:
        listener_close(w, listener)                 # live_listeners tells Python


# Close every live connection whose direction is in the bit mask.
cdef inline void worker_close_all(worker_t* w, int32_t directions, uint8_t reason) noexcept nogil:
    cdef uint32_t slot
    cdef conn_t* c
    for slot in range(slab_slot_count(&w.conns)):
        c = <conn_t*>slab_at(&w.conns, slot)
        if c.head.is_live and (directions >> c.direction) & 1:
            conn_close(w, c, reason)


cdef inline void worker_close_one(worker_t* w, uint64_t id) noexcept nogil:
    cdef uint32_t slot
    cdef conn_t* c
    for slot in range(slab_slot_count(&w.conns)):
        c = <conn_t*>slab_at(&w.conns, slot)
        if c.head.is_live and c.id == id:
            conn_close(w, c, REASON_OPERATOR)
            return


# Answer COMMAND_DUMP: as many live connections as the answer has room for.
cdef inline void worker_dump(worker_t* w, dump_t* dump) noexcept nogil:
    cdef uint32_t slot
    cdef conn_t* c
    for slot in range(slab_slot_count(&w.conns)):
        c = <conn_t*>slab_at(&w.conns, slot)
        if not c.head.is_live or c.close_reason != REASON_OPEN:
            continue
        if dump.row_count == dump.row_capacity:
            break
        conn_to_record(w, c, &dump.rows[dump.row_count], w.now_us)
        dump.row_count += 1
    store_release(&dump.is_done, 1)
    w.must_wake_python = 1


# `is_later`: newcomers are taken in, and idle connections left alone, because a request may be on
# its way to them; but each answer is the last one of its connection.
cdef inline void worker_stop_accepting(
    worker_t* w, int32_t directions, bint is_later,
) noexcept nogil:
    cdef uint32_t i
    cdef conn_t* c
    w.draining |= <uint32_t>directions
    if is_later:
        return
    for i in range(w.listener_count):
        if (directions >> w.listeners[i].direction) & 1:
            listener_drain(w, &w.listeners[i])
    for i in range(slab_slot_count(&w.conns)):
        c = <conn_t*>slab_at(&w.conns, i)
        if c.head.is_live and c.close_reason == REASON_OPEN and (directions >> c.direction) & 1:
            h1_drain(w, c)
    w.must_wake_python = 1


cdef inline void worker_stop(worker_t* w) noexcept nogil:
    cdef uint32_t i
    for i in range(w.listener_count):
        listener_close(w, &w.listeners[i])
    worker_close_all(w, ~0, REASON_STOPPED)
    pool_close_idle(w, False)
    w.is_stopping = 1


cdef inline void worker_on_command(worker_t* w, const command_t* command) noexcept nogil:
    if command.op == COMMAND_LISTEN:
        worker_listen(w, command)
    elif command.op == COMMAND_STOP_ACCEPTING:
        worker_stop_accepting(w, command.a, command.b)
    elif command.op == COMMAND_CLOSE_ALL:
        worker_close_all(w, command.a, <uint8_t>command.b)
    elif command.op == COMMAND_CLOSE_ONE:
        worker_close_one(w, command.id)
    elif command.op == COMMAND_RECORDS:
        w.records_enabled = <uint8_t>command.a
    elif command.op == COMMAND_DUMP:
        worker_dump(w, <dump_t*>command.pointer)
    elif command.op == COMMAND_PEER:
        shake_answered(w, <peer_answer_t*>command.pointer)


cdef inline void worker_on_commands(worker_t* w) noexcept nogil:
    cdef uint64_t wakes = 0
    cdef command_t* command
    read(w.command_fd, &wakes, sizeof(uint64_t))    # first clear, then look: no command is missed
    while True:
        command = <command_t*>ring_peek(&w.commands)
        if command == NULL:
            return
        worker_on_command(w, command)
        ring_take(&w.commands)


# ---- the tick ---------------------------------------------------------------------------------

cdef inline void worker_adopt_snapshot(worker_t* w) noexcept nogil:
    w.snapshot = <const snapshot_t*>load_pointer(&w.next_snapshot)
    if w.bundle_generation != w.snapshot.bundle_generation:
        w.bundle_generation = w.snapshot.bundle_generation
        pool_close_idle(w, True)        # made under a root that is trusted no more
    if w.snapshot.version != w.snapshot_version:
        store_release(&w.snapshot_version, w.snapshot.version)
        w.must_wake_python = 1
        w.has_room = 1                  # limits may be others now
    if w.snapshot.policy_generation != w.policy_generation:
        authz_judge_again(w)


# Another turn for the flows that used up theirs, each connection once.
cdef inline void worker_run_ready(worker_t* w) noexcept nogil:
    cdef conn_t* c = w.ready
    cdef conn_t* following
    # Who needs yet another turn is put in front of the list, where this walk does not come by.
    while c != NULL:
        following = c.next_ready
        conn_unqueue_ready(w, c)
        if c.close_reason == REASON_OPEN:
            if c.phase == PHASE_CONNECTING and c.up != NULL and c.up.side.tls != NULL:
                worker_on_conn(w, c, UPSTREAM, 0)       # the verdict on its peer is there
            worker_pump(w, c)
        c = following


# Up to when epoll may sleep, in ms; -1 for ever.
cdef inline int worker_wait_ms(worker_t* w, int timeout_ms) noexcept nogil:
    cdef int64_t wait_ms
    if w.ready != NULL or w.has_room:       # what was reaped made room
        return 0
    wait_ms = timer_wait_ms(&w.wheel, w.now_ms)
    if wait_ms < 0 or (timeout_ms >= 0 and wait_ms > timeout_ms):
        return timeout_ms
    return <int>wait_ms if wait_ms < 1000000000 else 1000000000


# How long the loop was deaf to new events. Python resets the longest when it has read it.
cdef inline void worker_count_tick(worker_t* w) noexcept nogil:
    cdef uint64_t took_us = clock_us(CLOCK_MONOTONIC) - w.tick_us
    count(&w.stats.ticks)
    if took_us > load_relaxed(&w.stats.longest_tick_us):
        store_relaxed(&w.stats.longest_tick_us, took_us)


cdef inline void worker_count_live(worker_t* w) noexcept nogil:
    store_relaxed(&w.live_connections, w.conns.live_count)
    store_relaxed(&w.live_bufs, w.bufs.live_count)
    store_relaxed(&w.live_pipes, w.pipes.live_count)
    store_relaxed(&w.live_ups, w.ups.live_count)
    store_relaxed(&w.live_exchanges, w.exchanges.live_count)


# One round. `timeout_ms` < 0: wait for ever. Returns the number of events. A snapshot must have
# been published before the first one.
cdef inline int worker_tick(worker_t* w, int timeout_ms) noexcept nogil:
    cdef int n = epoll_wait(
        w.epoll_fd, w.events, TICK_EVENTS_MAX, worker_wait_ms(w, timeout_ms))
    cdef int i
    w.now_us = clock_us(CLOCK_MONOTONIC)
    w.now_ms = w.now_us // 1000
    w.tick_us = w.now_us
    worker_adopt_snapshot(w)
    for i in range(n):
        worker_on_idle_event(w, w.events[i].data.u64, w.events[i].events)
    for i in range(n):
        worker_on_event(w, w.events[i].data.u64, w.events[i].events)
    if w.ready != NULL:
        worker_run_ready(w)
    worker_fire_timers(w)
    if w.has_room:
        waiters_serve(w)
    if load_acquire(&w.must_stop):
        worker_on_commands(w)       # listeners that were on their way to us are ours to close
        worker_stop(w)
    if w.dead != NULL or w.dead_ups != NULL:
        w.now_us = clock_us(CLOCK_MONOTONIC)
        conn_reap(w)
    if w.is_stopping:
        store_relaxed(&w.live_numbers, fleet_in_flight(&w.fleet))
    worker_count_live(w)
    worker_count_tick(w)
    if w.must_wake_python:
        w.must_wake_python = 0
        worker_wake(w, w.record_fd)
    return n


# The thread: ticks until must_stop is set. It never takes the GIL.
cdef inline void* worker_main(void* argument) noexcept nogil:
    cdef worker_t* w = <worker_t*>argument
    ask_slice(WORKER_SLICE_NS)
    while not w.is_stopping:
        worker_tick(w, -1)
    return NULL
