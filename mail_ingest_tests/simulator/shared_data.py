"""Finds recordings and real mail, which are kept outside the repository."""

import os
from pathlib import Path

import pytest


def shared_data(*parts: str) -> Path:
    """A file of the shared data; skips the test where it is not there."""
    named = os.environ.get("MAIL_INGEST_SHARED_DATA")
    here = Path(__file__).resolve()
    places = [Path(named)] if named else [folder / "shared" / "data" for folder in here.parents]
    for place in places:
        found = place.joinpath(*parts)
        if found.exists():
            return found
    pytest.skip(f"no shared data: {'/'.join(parts)}")
