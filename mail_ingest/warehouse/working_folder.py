"""Mends a pipeline's working folder after a kill, so that dlt can finish what it holds.

dlt moves a package from step to step by renaming folders, and a few steps take more than one move. A process killed in
between leaves a folder with which dlt cannot go on, and says so at every run. The caller holds the pipeline's lock.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from mail_ingest.folders import make_private

#: What dlt calls a file until it is written and may replace the one before it. It takes one among schemas for a schema.
_UNFINISHED_FILE = re.compile(r"[0-9a-f]{16}|.+\.part")


def mend_working_folder(folder: Path) -> None:
    """Brings the working folder of one pipeline to where the step that was interrupted began, or ended."""
    for path in (path for places in ("*", "schemas/*", "normalize/*", "load/*") for path in list(folder.glob(places))):
        if path.is_file() and _UNFINISHED_FILE.fullmatch(path.name):
            path.unlink()
    extracted, normalized = folder / "normalize" / "extracted", folder / "load" / "normalized"
    for package in _packages(extracted):
        if (normalized / package.name).exists():
            # normalized, but not taken away from here yet: doing it again fails, because the target is there
            shutil.rmtree(package)
        elif (package / "schema.json").exists():
            _save_schema(package / "schema.json", folder / "schemas")
    # people's mail in files that nothing points to: packages in the making, and loaded ones that were not emptied
    unfinished = [path for path in _packages(folder / "normalize") if path.name != extracted.name]
    for path in (*unfinished, *_packages(folder / "load" / "new"), *folder.glob("load/loaded/*/completed_jobs")):
        shutil.rmtree(path)


def _packages(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _save_schema(of_package: Path, schemas: Path) -> None:
    """The schema that a package was extracted with, which dlt keeps a moment later than the package itself.

    With the one from before it, a table that the package is the first to fill could not be normalized.
    """
    name = json.loads(of_package.read_bytes())["name"]
    make_private(schemas)
    temporary = schemas / f"{name}.schema.json.part"
    shutil.copyfile(of_package, temporary)
    temporary.replace(schemas / f"{name}.schema.json")
