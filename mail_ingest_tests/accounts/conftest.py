from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mail_ingest.accounts import Registry
from mail_ingest.accounts.database import open_database
from mail_ingest.settings import Settings, load_settings
from mail_ingest_tests.postgres import copied_database, fresh_database


class Calendar:
    """A now that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home")})


@pytest.fixture
def open_registry(calendar: Calendar) -> Iterator[Callable[[Settings], Registry]]:
    """Opens registries as successive processes would, and closes them in the end."""
    opened: list[Registry] = []

    def build(settings: Settings) -> Registry:
        opened.append(Registry(settings, now=calendar))
        return opened[-1]

    yield build
    for registry in opened:
        registry.close()


@pytest.fixture
def registry(settings: Settings, open_registry: Callable[[Settings], Registry]) -> Registry:
    return open_registry(settings)


@pytest.fixture(scope="session")
def _original_control(postgres: str) -> Iterator[str]:
    """A control database that no deployment has used."""
    with fresh_database(postgres) as url:
        open_database(url).dispose()
        yield url


@pytest.fixture
def control_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a copy of it, dropped afterwards; of an empty database for tests marked `first_use`."""
    if request.node.get_closest_marker("first_use") is not None:
        yield str(request.getfixturevalue("database"))
        return
    with copied_database(request.getfixturevalue("_original_control")) as url:
        yield url
