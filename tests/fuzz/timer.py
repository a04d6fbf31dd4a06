"""The timer wheel against a table of times: bytes are a program of arming, cancelling, waiting."""

from types import ModuleType
from typing import Any, Final

TICK_MS: Final = 4
TIMERS: Final = 16
START_MS: Final = 1_000_003
SPAN_MS_MAX: Final = 3_000_000_000  # five weeks, or 50 turns of the wheel: then the program ends
SHIFT_MAX: Final = 20  # one step reaches three days: four times the reach of the wheel


class Model:
    """What must hold: each armed timer and the tick in which it fires."""

    def __init__(self, probe: ModuleType) -> None:
        self.wheel: Any = probe.Wheel(TIMERS, START_MS)
        self.now_ms = START_MS
        self.armed: dict[int, int] = {}  # not expired yet
        self.due: dict[int, int] = {}  # expired, not handed out

    @property
    def tick(self) -> int:
        return self.now_ms // TICK_MS

    def arm(self, number: int, ahead_ms: int) -> None:
        at_ms = self.now_ms + ahead_ms
        self.wheel.arm(number, at_ms)
        self.due.pop(number, None)
        self.armed[number] = max(-(-at_ms // TICK_MS), self.tick + 1)

    def cancel(self, number: int) -> None:
        self.wheel.cancel(number)
        self.armed.pop(number, None)
        self.due.pop(number, None)

    def pass_time(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.wheel.gather(self.now_ms)
        expired = [number for number, tick in self.armed.items() if tick <= self.tick]
        self.due |= {number: self.armed.pop(number) for number in expired}

    def sleep(self) -> None:
        """As the worker does: as long as the wheel allows."""
        wait_ms = self.wheel.wait_ms(self.now_ms)
        self.pass_time(max(0, wait_ms))

    def hand_out_one(self) -> int | None:
        number: int | None = self.wheel.next_due()
        if number is None:
            assert not self.due, f"late: {self.due}"
            return None
        assert number in self.due, f"early, cancelled, or twice: {number}"
        assert self.due.pop(number) <= min(self.due.values(), default=1 << 62), "out of order"
        return number

    def hand_out_all(self) -> None:
        while self.hand_out_one() is not None:
            pass

    def check(self) -> None:
        assert self.wheel.armed_count == len(self.armed) + len(self.due)
        known = self.armed.keys() | self.due.keys()
        assert {n for n in range(TIMERS) if self.wheel.is_armed(n)} == known
        wait_ms = self.wheel.wait_ms(self.now_ms)
        if self.due:
            assert wait_ms == 0
        elif self.armed:
            latest_ms = min(self.armed.values()) * TICK_MS - self.now_ms
            assert 0 < wait_ms <= latest_ms, f"sleeps {wait_ms} of {latest_ms} ms"
        else:
            assert wait_ms == -1


def check_wheel(probe: ModuleType, text: bytes) -> None:
    """Four bytes are a step: what, which timer, and how long as mantissa and shift."""
    model = Model(probe)
    for at in range(0, len(text) - 3, 4):
        what, number, mantissa, shift = text[at : at + 4]
        run_step(model, what % 8, number % TIMERS, mantissa << shift % (SHIFT_MAX + 1))
        model.check()
        if model.now_ms - START_MS > SPAN_MS_MAX:
            break
    while model.armed:
        model.sleep()
        model.hand_out_all()
        model.check()


def run_step(model: Model, what: int, number: int, span_ms: int) -> None:
    if what <= 2:
        model.arm(number, span_ms)
    elif what == 3:
        model.cancel(number)
    elif what == 4:
        model.pass_time(span_ms)  # what expired waits: the next steps arm or cancel some of it
    elif what == 5:
        handled = model.hand_out_one()
        if handled is not None:
            model.arm(handled, span_ms)
    elif what == 6:
        model.pass_time(span_ms)
        model.hand_out_all()
    else:
        model.sleep()
        model.hand_out_all()
