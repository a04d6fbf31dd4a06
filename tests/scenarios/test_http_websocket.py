"""WebSockets through two sidecars: ours in Python, and the client that Java brings along."""

import random
import socket
from pathlib import Path

import pytest

from tests.support.http import Stream, response
from tests.support.rig import Rig
from tests.support.sockets import Address, connected
from tests.support.tools import listening_for, said_by, two_sidecars
from tests.support.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    client,
    echo_server,
    read_frame,
    send_frame,
)

JAVA_CLIENT = """
import java.net.URI;
import java.net.http.*;
import java.util.concurrent.*;

public class Client implements WebSocket.Listener {
    final BlockingQueue<String> got = new LinkedBlockingQueue<>();
    final StringBuilder part = new StringBuilder();
    public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
        part.append(text);
        if (last) { got.add(part.toString()); part.setLength(0); }
        socket.request(1);
        return null;
    }
    public static void main(String[] arguments) throws Exception {
        Client client = new Client();
        WebSocket socket = HttpClient.newHttpClient().newWebSocketBuilder()
            .buildAsync(URI.create(arguments[0]), client).get(10, TimeUnit.SECONDS);
        for (int size : new int[] {0, 1, 125, 126, 65535, 65536, 200000}) {
            String text = "x".repeat(size);
            socket.sendText(text, true).get(10, TimeUnit.SECONDS);
            String got = client.got.poll(10, TimeUnit.SECONDS);
            if (!text.equals(got)) throw new Exception("size " + size);
        }
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(10, TimeUnit.SECONDS);
        System.out.println("all echoed");
    }
}
"""
JAVA_GET = """
import java.net.URI;
import java.net.http.*;

public class Get {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest ask = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        for (int i = 0; i < 5; i++) {
            HttpResponse<String> answer = client.send(ask, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@pytest.fixture
def address(rig: Rig) -> Address:
    listener, target = listening_for(rig)
    rig.background(echo_server, listener)
    return two_sidecars(rig, target)


def test_frames_of_every_size_are_echoed(address: Address) -> None:
    dice = random.Random(5)  # noqa: S311 - not a secret
    with connected(address) as sock:
        stream = client(sock)
        for size in (0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000):
            frame = Frame(BINARY, dice.randbytes(size))
            send_frame(stream, frame, masked=True)
            assert read_frame(stream) == frame
        send_frame(stream, Frame(PING, b"there?"), masked=True)
        assert read_frame(stream) == Frame(PONG, b"there?")
        send_frame(stream, Frame(CLOSE, b"\x03\xe8"), masked=True)
        assert read_frame(stream) == Frame(CLOSE, b"\x03\xe8")
        stream.expect_end()


def test_a_frame_sent_right_behind_the_handshake_is_echoed(address: Address) -> None:
    for _ in range(3):
        with connected(address) as sock:
            stream = client(sock)
            for number in range(100):
                send_frame(stream, Frame(TEXT, b"%d" % number), masked=True)
            for number in range(100):
                assert read_frame(stream) == Frame(TEXT, b"%d" % number)


@pytest.mark.slow
def test_the_client_of_java_is_served(address: Address, tmp_path: Path) -> None:
    source = tmp_path / "Client.java"
    source.write_text(JAVA_CLIENT)
    url = "ws://{}:{}/socket".format(*address)
    assert said_by("java", str(source), url) == "all echoed\n"


@pytest.mark.slow
def test_a_java_client_that_offers_http2_by_upgrade_gets_http1(rig: Rig, tmp_path: Path) -> None:
    """Its default: every first request carries Upgrade: h2c and HTTP2-Settings."""
    listener, target = listening_for(rig)
    rig.background(_answer_five, listener)
    source = tmp_path / "Get.java"
    source.write_text(JAVA_GET)
    url = "http://{}:{}/".format(*two_sidecars(rig, target))
    assert said_by("java", str(source), url) == "HTTP_1_1 200 no h2c\n" * 5


def _answer_five(listener: socket.socket) -> None:
    stream = Stream(listener.accept()[0])
    with stream.sock:
        for _ in range(5):
            asked = stream.request()
            offered = asked.all(b"upgrade") + asked.all(b"http2-settings")
            stream.send(response(b"h2c" if offered else b"no h2c"))
        stream.expect_gone()
