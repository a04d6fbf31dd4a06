"""`python traffic.py EXTENSION SETTINGS [--count]`: two workers and Python at work together.

Run under ThreadSanitizer, with an extension built for it: connections open, relay, splice and close
in two worker threads while Python publishes snapshots, takes records, lists and closes connections
and, with --count, reads the counters. Requests of new services come all the while.
"""

import importlib.util
import json
import socket
import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

WORKERS = 2
CONNECTIONS = 60
BULK_EVERY = 5
EXPLICIT = 2
EVERY_DIRECTION = 0b111
OPERATOR = 19


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_fastpath", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def echo(upstream: socket.socket) -> None:
    while True:
        try:
            sock, _ = upstream.accept()
        except OSError:
            return
        threading.Thread(target=echo_one, args=[sock]).start()


def echo_one(sock: socket.socket) -> None:
    with sock, suppress(ConnectionError):
        while text := sock.recv(1 << 16):
            sock.sendall(text)


def listen(engine: Any, worker: int) -> tuple[str, int]:  # noqa: ANN401 - a C class
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
    address: tuple[str, int] = listener.getsockname()
    engine.listen(worker, listener.detach(), EXPLICIT, 0, worker)
    return address


def talk(sock: socket.socket, size: int) -> None:
    """Send `size` bytes and read them back."""
    sender = threading.Thread(target=sock.sendall, args=[bytes(size)])
    sender.start()
    while size:
        text = sock.recv(1 << 20)
        assert text
        size -= len(text)
    sender.join()


def ask(sock: socket.socket) -> None:
    """Send a request, which comes back as it is and is no answer: 502."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sock.recv(100).startswith(b"HTTP/1.1 502 ")


def read_counters(engine: Any) -> None:  # noqa: ANN401 - a C class
    engine.stats()
    for group in engine.groups():
        engine.golden(*group)


def work(
    module: ModuleType, settings: dict[str, int], target: tuple[str, int], *, counts: bool
) -> int:
    """Return the number of records taken: the last ones may be lost with the engine."""
    engine = module.Engine(WORKERS, 64, records=8)
    engine.publish(module.Snapshot(1, settings, [target]))
    addresses = [listen(engine, worker) for worker in range(WORKERS)]
    engine.start()
    engine.record_connections(True)  # noqa: FBT003 - as the data plane has it
    records = 0
    for number in range(CONNECTIONS):
        with socket.create_connection(addresses[number % WORKERS]) as sock:
            engine.services.append(f"service-{number}")
            services = [(*target, len(engine.services) - 1, 0)]
            engine.publish(module.Snapshot(number + 2, settings, [target], services))
            talk(sock, 10 if number % BULK_EVERY else 300_000)
            engine.request_connections(10)
            while (rows := engine.take_connections()) is None:
                pass
            if number % 7 == 0:
                for row in rows:
                    engine.close_connection(row.id)
        with socket.create_connection(addresses[number % WORKERS]) as sock:
            ask(sock)
        engine.released_version()
        engine.worker_state(number % WORKERS)
        records += len(engine.read_records(100))
        if counts:
            read_counters(engine)
    engine.close_all(EVERY_DIRECTION, OPERATOR)
    engine.stop_accepting(EVERY_DIRECTION)
    engine.stop()
    assert not any(engine.stats()["live"])
    return records


def main(path: str, settings: str, *options: str) -> None:
    upstream = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=echo, args=[upstream])
    thread.start()
    try:
        target = upstream.getsockname()
        assert work(load(path), json.loads(settings), target, counts="--count" in options) > 0
    finally:
        upstream.shutdown(socket.SHUT_RDWR)
        upstream.close()
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
