"""Asks an address again and again, and tells after each answer how many were good and bad.

    python3 -c TEXT URL WORD [COUNT]

Good is an answer with WORD in it. After COUNT good ones it ends; without COUNT it goes on.
"""

import json
import signal
import sys
import time
import urllib.request
from http.client import HTTPException
from typing import Any

URL, WORD = sys.argv[1], sys.argv[2]
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 0
TIMEOUT_S = 10.0
PAUSE_S = 0.02  # between two requests

told: dict[str, Any] = {"good": 0, "bad": 0, "last": ""}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while not COUNT or told["good"] < COUNT:
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
        good = answer.status == 200 and WORD in text
    except (OSError, HTTPException) as fault:
        good, text = False, f"{type(fault).__name__}: {fault}"
    told["good" if good else "bad"] += 1
    if not good:
        told["last"] = text
    print(json.dumps(told), flush=True)
    time.sleep(PAUSE_S)
