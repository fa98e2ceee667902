"""Processes that begin where everything is imported: each is forked from one that has done it, and saves seconds.

    `Forks.run(arguments)` -> a line of JSON -> the parent of all forks -> a process with its own arguments, variables, folder
    and standard streams -> its exit code

What a program does from its first line on is the same as in a process of its own; what importing it does is not. Warehouses
and control databases that it makes begin as copies, see `prepared`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from mail_ingest_tests.prepared import Prepared

ROOT = Path(__file__).parents[1]
#: The command line.
MAIL_INGEST = "from mail_ingest.cli import main\nmain()"
_IMPORTED = (
    "mail_ingest.cli",
    "mail_ingest.ingest.engine",
    "mail_ingest.ingest.privacy_change",
    "mail_ingest.ingest.estimating",
    "mail_ingest.sources.landing",
    "mail_ingest.warehouse.pipeline",
    "mail_ingest.warehouse.reading",
    "adbc_driver_postgresql.dbapi",
    "alembic.command",
    "dlt.destinations",
    "google.oauth2.service_account",
    "googleapiclient.discovery",
    "psycopg2",
)


class Forks:
    """Runs Python programs given as text. One at a time; `close` ends the parent of all forks."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._parent: subprocess.Popen[str] | None = None

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True)` gives."""
        copied = str(self._prepared.made().folder)
        with tempfile.TemporaryDirectory(prefix="mi-fork-") as folder:
            streams = [Path(folder) / name for name in ("in", "out", "err")]
            streams[0].write_text(stdin)
            asked = [program, [*arguments], dict(env), str(cwd), [str(stream) for stream in streams], copied]
            code = int(self._ask(json.dumps(asked)))
            out, err = (stream.read_text(errors="replace") for stream in streams[1:])
        return subprocess.CompletedProcess([*arguments], code, out, err)

    def close(self) -> None:
        """Ends the parent; the next `run` starts another."""
        if self._parent is not None:
            self._parent.stdin.close()  # type: ignore[union-attr]
            self._parent.wait(timeout=10)
            self._parent = None

    def _ask(self, line: str) -> str:
        if self._parent is None:
            command = [sys.executable, "-m", "mail_ingest_tests.forking"]
            self._parent = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(line + "\n")
        return self._parent.stdout.readline()


def _serve() -> None:
    before = dict(os.environ)
    for name in _IMPORTED:
        importlib.import_module(name)
    # collections of garbage would copy every page that they look at, in each child
    gc.freeze()
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            program, arguments, env, *rest = json.loads(line)
            _become(program, arguments, {**set_by_imports, **env}, *rest)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(
    program: str, arguments: list[str], env: dict[str, str], cwd: str, streams: list[str], copied: str
) -> NoReturn:
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["mail-ingest", *arguments]
    sys.modules["__main__"] = ModuleType("__main__")
    code: object = 0
    copies = Prepared(Path(copied)).used()
    copies.__enter__()
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__", "__spec__": None})
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    # what an interpreter does at its end, but for taking everything apart
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve()
