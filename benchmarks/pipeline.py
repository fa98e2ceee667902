"""`python -m benchmarks.pipeline`: what a sync costs, as ratios to a hand-written floor and as units at Gmail.

    python -m benchmarks.pipeline                      about 15 minutes
    python -m benchmarks.pipeline --quick              a few minutes, small mailboxes, one minute of quota
    python -m benchmarks.pipeline --full               more rounds, twelve minutes of quota
    python -m benchmarks.pipeline throughput expired   these scenarios alone

It prints one table. The floor (`benchmarks.floor`) is the shortest program that stores the same columns; it runs in turns
with the product, against the same server, whose own CPU time is left out. Ratios are what counts: milliseconds depend on
the machine. Every measured process is a process of its own, pinned to one core where the OS allows, the server to
another. The scenario `quota` waits most of its time, so it runs beside the ones that are not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figures import Figure, table
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, USUAL, Sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs scenarios and prints the table; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"some of: {', '.join(SCENARIOS)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="sizes", const=QUICK, help="small mailboxes, one round")
    size.add_argument("--full", action="store_const", dest="sizes", const=FULL, help="more rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    figures = run(options.scenarios or list(SCENARIOS), options.sizes or USUAL)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    return int(any(figure.holds is False for figure in figures))


def run(names: Sequence[str], sizes: Sizes) -> list[Figure]:
    """The figures of these scenarios, in their order. Throughput runs alone, the quota's minutes pass beside the rest."""
    figures: dict[str, list[Figure]] = {}
    if "throughput" in names:
        figures["throughput"] = _run("throughput", sizes)
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(_run, "quota", sizes) if "quota" in names else None
        for name in names:
            if name not in ("throughput", "quota"):
                figures[name] = _run(name, sizes)
        if waiting is not None:
            figures["quota"] = waiting.result()
    return [figure for name in names for figure in figures[name]]


def _run(name: str, sizes: Sizes) -> list[Figure]:
    began = time.perf_counter()
    try:
        figures = SCENARIOS[name](sizes)
    except RuntimeError as error:
        # what the others measured is worth printing all the same
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return [Figure(name, "could not be measured", float("nan"), "", "=", 0)]
    print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
