"""The layers point one way: import-linter's contracts hold, and would notice if they did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--config", str(root / "pyproject.toml"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_contracts_hold() -> None:
    done = _lint(ROOT)

    assert done.returncode == 0, done.stdout


def test_only_settings_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "mail_ingest").rglob("*.py")
        if "os.environ" in path.read_text() or "os.getenv" in path.read_text()
    }

    # the demo sets variables for the processes it starts, the package switches telemetry of others off
    assert readers == {"mail_ingest/settings.py", "mail_ingest/demo.py", "mail_ingest/__init__.py"}
