"""Inputs drawn by their structure, and what breaks a target made small."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from mail_ingest_tests.fuzz.seeds import inputs, seeds
from mail_ingest_tests.fuzz.targets import TARGETS

_ROUND = 200


@dataclass(slots=True)
class Fuzzed:
    """What a time of fuzzing did."""

    executions: int = 0
    coverage: int = 0
    corpus: int = 0
    crashes: list[Path] = field(default_factory=list)


def fuzz_by_structure(target: str, seconds: float, folder: Path, seed: int = 0) -> Fuzzed:
    """Draws inputs until the time is over; what breaks the target is kept, once for each place that it breaks at."""
    done = Fuzzed()
    broken: dict[str, bytes] = {}
    ends_at = time.monotonic() + seconds
    dice = random.Random(seed or None)

    def attempt(data: bytes) -> None:
        done.executions += 1
        place = breaks_at(TARGETS[target], data)
        if place and (place not in broken or len(data) < len(broken[place])):
            broken[place] = data

    for data in seeds(target):
        attempt(data)
    while time.monotonic() < ends_at:

        @seeded(dice.getrandbits(64))
        @settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs(target))
        def one_round(data: bytes) -> None:
            if time.monotonic() < ends_at:
                attempt(data)

        one_round()
    done.crashes = [keep(TARGETS[target], data, folder) for data in broken.values()]
    return done


def breaks_at(run: Callable[[bytes], None], data: bytes) -> str:
    """The class of what an input raises and the line that raised it; empty where it raises nothing."""
    try:
        run(data)
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        return f"{type(error).__name__} {where}"
    return ""


def keep(run: Callable[[bytes], None], data: bytes, folder: Path) -> Path:
    """Writes the input, made as small as taking pieces away makes it, under a name of its content."""
    small = minimised(run, data)
    path = folder / f"crash-{hashlib.sha256(small).hexdigest()[:12]}"
    path.write_bytes(small)
    return path


def minimised(run: Callable[[bytes], None], data: bytes) -> bytes:
    """The input without what is not needed to break the target at the same place: halves first, single bytes in the end."""
    place = breaks_at(run, data)
    size = max(1, len(data) // 2)
    while place:
        start = 0
        while start < len(data):
            shorter = data[:start] + data[start + size :]
            if breaks_at(run, shorter) == place:
                data = shorter
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return data
