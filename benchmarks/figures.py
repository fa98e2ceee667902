"""Figures and the table that they are printed in."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Sense = Literal["<=", ">=", "=", ""]
_HOLDS = {"<=": operator.le, ">=": operator.ge, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its bound. Without a bound it is information and can neither pass nor fail."""

    scenario: str
    name: str
    value: float
    unit: str = ""
    sense: Sense = ""
    bound: float | None = None

    @property
    def holds(self) -> bool | None:
        if not self.sense or self.bound is None:
            return None
        return bool(_HOLDS[self.sense](self.value, self.bound))

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "holds": self.holds}


def table(figures: Sequence[Figure]) -> str:
    """All figures as one table of text."""
    rows = [("scenario", "figure", "measured", "bound", "")]
    for figure in figures:
        bound = f"{figure.sense} {_number(figure.bound)}" if figure.bound is not None else ""
        verdict = {True: "met", False: "MISSED", None: ""}[figure.holds]
        rows.append(
            (figure.scenario, figure.name, f"{_number(figure.value)} {figure.unit}".rstrip(), bound.strip(), verdict)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
