"""A clock that can be moved on."""

from collections.abc import Callable


class Clock:
    """Epoch seconds of an underlying clock, plus what it was advanced by."""

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self._offset_s = 0.0

    def __call__(self) -> float:
        return self._source() + self._offset_s

    def advance(self, seconds: float) -> float:
        """Moves the clock and returns the new time."""
        self._offset_s += seconds
        return self()
