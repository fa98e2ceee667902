"""Inputs led by coverage: atheris, in a process of its own, because libFuzzer ends the process that it runs in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mail_ingest_tests.fuzz.drawn import Fuzzed, breaks_at, keep
from mail_ingest_tests.fuzz.seeds import dictionary, seeds
from mail_ingest_tests.fuzz.targets import TARGETS

#: An input that takes longer, or more memory, counts as one that breaks the target.
_LONGEST_S = 20
_MOST_MEMORY_MB = 2_000
_LONGEST_INPUT = 16_384
_CHILD = """
import sys
import atheris
with atheris.instrument_imports(include=["mail_ingest.mime", "mail_ingest.gmail", "mail_ingest.accounts"]):
    from mail_ingest_tests.fuzz.targets import TARGETS
atheris.Setup(sys.argv[:1] + sys.argv[2:], TARGETS[sys.argv[1]])
atheris.Fuzz()
"""


def fuzz_by_coverage(target: str, seconds: float, folder: Path, seed: int = 0) -> Fuzzed:
    """Runs atheris for so long; it goes on with what reached new lines the last time. A crash ends it early."""
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(data)
    words = folder / "dictionary.txt"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in dictionary(target)))
    before = set(folder.iterdir())
    done = subprocess.run(
        [
            sys.executable, "-c", _CHILD, target, str(corpus), f"-dict={words}", f"-artifact_prefix={folder}/found-",
            f"-max_total_time={max(1, round(seconds))}", f"-timeout={_LONGEST_S}", f"-rss_limit_mb={_MOST_MEMORY_MB}",
            f"-max_len={_LONGEST_INPUT}", f"-seed={seed}", "-print_final_stats=1",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )  # fmt: skip
    told = Fuzzed(
        executions=_last(r"stat::number_of_executed_units:\s*(\d+)", done.stderr),
        coverage=_last(r"\bcov: (\d+)", done.stderr),
        corpus=_last(r"\bcorp: (\d+)", done.stderr),
    )
    for path in sorted(set(folder.iterdir()) - before):
        data = path.read_bytes()
        if breaks_at(TARGETS[target], data):
            told.crashes.append(keep(TARGETS[target], data, folder))
            path.unlink()
        else:
            told.crashes.append(path)  # too slow or too large: kept as it is
    if done.returncode and not told.crashes:
        raise RuntimeError(f"atheris did not run:\n{done.stderr[-2_000:]}")
    return told


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0
