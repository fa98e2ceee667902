"""`python -m benchmarks.sizing`: prints docs/sizing.md, computed from benchmarks/sizing/figures.json.

python -m benchmarks.sizing > docs/sizing.md
python -m benchmarks.sizing --measure                 measures the figures anew, in some minutes
python -m benchmarks.sizing --measure --mailboxes 100 --messages 500 --postgres postgresql://user:password@host/database
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.sizing.figures import load, save
from benchmarks.sizing.page import page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="measure first, and write figures.json")
    parser.add_argument("--mailboxes", type=int, default=40, help="mailboxes to measure with")
    parser.add_argument("--messages", type=int, default=250, help="messages in each of them")
    parser.add_argument("--postgres", help="URL of a server to measure on, instead of one from a wheel")
    options = parser.parse_args(arguments)
    if options.measure:
        from benchmarks.sizing.measure import measure

        save(measure(options.mailboxes, options.messages, options.postgres))
    sys.stdout.write(page(load()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
