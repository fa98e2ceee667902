"""The measured figures that sizes are computed from, as a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FIGURES = Path(__file__).with_name("figures.json")


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU seconds and milliseconds are those of one core, Dagster included; the Gmail server's are apart."""

    measured_mailboxes: int
    measured_messages: int
    mean_message_bytes: int
    run_cpu_s: float
    quiet_cpu_ms: float
    busy_cpu_ms: float
    content_cpu_ms: float
    postgres_busy_cpu_ms: float
    postgres_content_cpu_ms: float
    quiet_units: float
    busy_units: float
    busy_messages: int
    content_units: float
    run_peak_mb: float
    database_bytes: float
    archive_bytes: float
    run_events: float
    run_event_bytes: float


def load() -> Figures:
    return Figures(**json.loads(FIGURES.read_text()))


def save(figures: Figures) -> None:
    FIGURES.write_text(json.dumps(asdict(figures), indent=4) + "\n")
