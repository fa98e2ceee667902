"""`python -m mail_ingest.simulator`: runs the simulator from the command line."""

import argparse
import json
from typing import Any

from mail_ingest.simulator.main import run


def _switch(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mail_ingest.simulator", description="A local Gmail server.")
    parser.add_argument("--port", type=int, default=8025, help="0 takes a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--account", action="append", dest="accounts", metavar="ADDRESS", help="may be repeated")
    parser.add_argument("--mailboxes", type=int, default=0, help="more accounts: user0001@example.com and on")
    parser.add_argument("--large", type=int, default=0, help="so many of them are large, evenly among them")
    parser.add_argument("--large-messages", type=int, default=50_000, help="generated messages in each large one")
    parser.add_argument("--messages", type=int, default=1_000, help="generated messages in every account")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--labels-per-message", type=float, default=3)
    parser.add_argument("--user-labels", type=int, default=20)
    parser.add_argument("--messages-per-thread", type=float, default=2)
    parser.add_argument("--mean-size-bytes", type=int, default=20_000)
    parser.add_argument("--start", default="2021-01-01", help="date of the oldest generated message")
    parser.add_argument("--end", default="2026-01-01")
    parser.add_argument("--load", action="append", default=[], metavar="PATH", help="folder, tar, mbox or Takeout mbox")
    parser.add_argument("--quota", choices=("2026", "previous", "off"), default="2026")
    parser.add_argument("--concurrency-limit", type=int, default=48)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--history-retention-s", type=float, default=None)
    parser.add_argument("--switch", action="append", default=[], type=_switch, metavar="NAME=VALUE", dest="switches")
    parser.add_argument("--json", action="store_true", dest="as_json", help="announce as one line of JSON")
    return parser


def main(arguments: list[str] | None = None) -> None:
    options = vars(_parser().parse_args(arguments))
    options["accounts"] = options["accounts"] or ([] if options["mailboxes"] else ["ada@example.com"])
    options["switches"] = dict(options["switches"])
    run(**options)


if __name__ == "__main__":
    main()
