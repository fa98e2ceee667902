"""`python -m mail_ingest_tests.fuzz --seconds N [--target mime|answers]`: fuzzes for so long, and says what it did and found.

Half of the time goes to hypothesis, which draws inputs by their structure, and half to atheris, which is led by the lines that
an input reaches. What breaks is made small and kept in `.fuzz/TARGET`; then the command ends with 1. Where atheris is not
installed (`pip install 'mail-ingest[fuzz]'`; it has no wheels for every platform), that half is said to be NOT RUN.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from mail_ingest_tests.fuzz.drawn import fuzz_by_structure
from mail_ingest_tests.fuzz.guided import fuzz_by_coverage
from mail_ingest_tests.fuzz.targets import TARGETS

FOLDER = Path(".fuzz")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mail_ingest_tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, for each target")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="what to fuzz; all without it")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; another one each time without it")
    options = parser.parse_args(arguments)
    found: list[Path] = []
    for target in options.target or sorted(TARGETS):
        folder = FOLDER / target
        folder.mkdir(parents=True, exist_ok=True)
        drawn = fuzz_by_structure(target, options.seconds / 2, folder, options.seed)
        print(f"{target}: hypothesis ran {drawn.executions:,} inputs, {len(drawn.crashes)} broke it", flush=True)
        found += drawn.crashes
        if importlib.util.find_spec("atheris") is None:
            print(f"{target}: NOT RUN: atheris is not installed, no input was led by coverage", flush=True)
            continue
        guided = fuzz_by_coverage(target, options.seconds / 2, folder, options.seed)
        print(
            f"{target}: atheris ran {guided.executions:,} inputs, reached {guided.coverage:,} edges with a corpus of "
            f"{guided.corpus:,}, {len(guided.crashes)} broke it",
            flush=True,
        )
        found += guided.crashes
    for path in found:
        print(f"kept: {path}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
