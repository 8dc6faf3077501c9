"""Ctrl-C in a training, which skorch takes for the end that a callback has asked for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C has ended a training, whose network can be used."""


class OthersWait(BaseException):
    """Ctrl-C has ended a training in one of several processes, which cannot go on."""


class Interruption:
    """Tells Ctrl-C from the KeyboardInterrupt by which a callback of skorch ends a training.

    Attributes
    ----------
    of_callback : bool
        Whether a callback has raised, for whatever reason.
    happened : bool
        Whether the training was interrupted.
    """

    def __init__(self) -> None:
        self.of_callback = False
        self.happened = False
        self._by_signal = False

    @property
    def is_real(self) -> bool:
        """Whether the KeyboardInterrupt at hand is no callback's."""
        return self._by_signal or not self.of_callback

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice Ctrl-C within this context; only the main thread is sent it."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            """Do what is done without this context, and look at it."""
            try:
                before(number, frame)
            except KeyboardInterrupt:
                self._by_signal = True
                raise

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
