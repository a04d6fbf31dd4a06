"""Looks at the packets of a port of this network namespace, as they are on the wire.

    python3 -c TEXT PORT WORD SECONDS

Tells how many carried something, how many of these began a TLS handshake, and whether WORD was seen
in any of them, in either direction. Needs CAP_NET_RAW.
"""

import json
import socket
import struct
import sys
import time

PORT, WORD, SECONDS = int(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])
ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800
TCP, LOOPBACK = 6, 772  # a protocol, and the kind of a device (ARPHRD_LOOPBACK)
HANDSHAKE = b"\x16\x03"

told = {"packets": 0, "handshakes": 0, "seen": False}
wants_loopback = "--loopback" in sys.argv
raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
raw.settimeout(0.2)
print("looking", flush=True)
end_s = time.monotonic() + SECONDS
while time.monotonic() < end_s:
    try:
        packet, (_, protocol, _, device, _) = raw.recvfrom(65535)
    except TimeoutError:
        continue
    # What the proxy says to the application goes over the loopback device: that is no wire.
    if protocol != ETH_P_IP or (device == LOOPBACK) != wants_loopback:
        continue
    header = (packet[0] & 15) * 4
    if packet[9] != TCP or len(packet) < header + 20:
        continue
    source, target = struct.unpack_from("!HH", packet, header)
    if PORT not in (source, target):
        continue
    length = struct.unpack_from("!H", packet, 2)[0]
    data = packet[header + (packet[header + 12] >> 4) * 4 : length]
    if not data:
        continue
    told["packets"] += 1
    told["handshakes"] += data.startswith(HANDSHAKE)
    told["seen"] = told["seen"] or WORD in data
print(json.dumps(told), flush=True)
