# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Being told to stop: noticed where it is safe, so that no process is lost between its start and its being known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StudyInterrupted", "interruptible"]

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StudyInterrupted(BaseException):
    """The study was told to stop. Like ``KeyboardInterrupt`` it is no ``Exception``.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell reports for a command that a signal ended."""
        return 128 + self.number


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Within, SIGINT, SIGTERM and SIGHUP are only noted; calling what is yielded raises :class:`StudyInterrupted` then.

    A signal that was ignored (a job in the background, ``nohup``) stays ignored. Outside the main thread Python gives
    signals to nobody, and nothing is changed.
    """
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    def check() -> None:
        if told:
            raise StudyInterrupted(told[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
