"""Fixtures that several folders share, and the report of what was not run."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.forking import Forks
from mail_ingest_tests.in_step import Homes, Steps
from mail_ingest_tests.postgres import copied_database, embedded_server, fresh_database
from mail_ingest_tests.prepared import Prepared, fill

ADDRESS = "ada@example.com"

# how long an example takes says more about the machine than about the code
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_xdist_auto_num_workers() -> int | None:
    """Half as many again as there are processors: many tests wait, for other processes or for a clock."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    return math.ceil(1.5 * (os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests marked with `early` first, so that none of them is left to run alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


@pytest.fixture
def gmail() -> Iterator[Simulator]:
    """A local Gmail server without quota."""
    with Simulator(quota="off") as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs tests marked with `warehouses` once for each of them; a test's own mark outranks its module's.

    `long` names warehouses on which the test is a long one: where it is about what happens before rows reach a database.
    """
    marked = metafunc.definition.get_closest_marker("warehouses")
    if marked is not None and "warehouse_url" in metafunc.fixturenames:
        at_length = [pytest.param(name, marks=pytest.mark.long) for name in marked.kwargs.get("long", ())]
        metafunc.parametrize("warehouse_url", [*marked.args, *at_length], indirect=True)


@pytest.fixture
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A warehouse that does not exist yet (a DuckDB file), or a database that no deployment has used."""
    if getattr(request, "param", "duckdb") == "duckdb":
        return f"duckdb:///{tmp_path / 'home' / 'warehouse.duckdb'}"
    is_empty = request.node.get_closest_marker("first_use") is not None
    return str(request.getfixturevalue("database" if is_empty else "prepared_database"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Empty warehouses and control databases, to be copied."""
    return Prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(autouse=True)
def _begin_as_copies(request: pytest.FixtureRequest, prepared: Prepared) -> Iterator[None]:
    """What a test opens first is a copy, but for tests of just that."""
    if request.node.get_closest_marker("first_use") is not None:
        yield
        return
    with prepared.used():
        yield


@pytest.fixture(scope="session")
def forks(prepared: Prepared) -> Iterator[Forks]:
    """What runs commands without importing everything anew."""
    forks = Forks(prepared)
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a Postgres server: the one that MAIL_INGEST_TEST_POSTGRES names, or one from a wheel."""
    given = os.environ.get("MAIL_INGEST_TEST_POSTGRES")
    if given:
        yield given
        return
    with embedded_server() as url:
        yield url


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def _original_warehouse(postgres: str) -> Iterator[str]:
    """A database with the tables and views of a warehouse."""
    with fresh_database(postgres) as url:
        fill(url)
        yield url


@pytest.fixture
def prepared_database(_original_warehouse: str) -> Iterator[str]:
    """The URL of a copy of it, dropped afterwards."""
    with copied_database(_original_warehouse) as url:
        yield url


@pytest.fixture
def box(gmail: Simulator) -> Mailbox:
    """An empty mailbox on it."""
    return gmail.add_account(ADDRESS)


@pytest.fixture
def environment(gmail: Simulator, tmp_path: Path, warehouse_url: str) -> dict[str, str]:
    """`MAIL_INGEST_*` for a fresh home that reads from the local server."""
    return {
        # a DuckDB file is made under home without being named
        **({} if warehouse_url.startswith("duckdb:") else {"MAIL_INGEST_WAREHOUSE": warehouse_url}),
        "MAIL_INGEST_HOME": str(tmp_path / "home"),
        "MAIL_INGEST_GMAIL_URL": gmail.url,
        "MAIL_INGEST_QUOTA": "off",
    }


@pytest.fixture
def new_engine(environment: dict[str, str]) -> Iterator[Callable[..., Engine]]:
    """Builds engines over one home, as successive processes would."""
    built: list[Engine] = []

    def build(wait_s: float = 5.0, **variables: str) -> Engine:
        # retries follow each other at once: no test sleeps
        built.append(Engine(load_settings({**environment, **variables}), wait_s=wait_s, sleep=lambda seconds: None))
        return built[-1]

    yield build
    for engine in built:
        engine.close()


@pytest.fixture
def engine(new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with the mailbox registered."""
    monkeypatch.setenv("ADA_TOKEN", box.token)
    built = new_engine()
    built.registry.add(ADDRESS, token_env("ADA_TOKEN"))
    return built


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return Homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="session")
def _kept_databases(postgres: str) -> Iterator[ExitStack]:
    """Databases that go before the server does."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def in_step(
    request: pytest.FixtureRequest, _homes: Homes, engine: Engine, box: Mailbox, new_engine: Callable[..., Engine]
) -> Callable[[Steps], Engine]:
    """Brings the mailbox, and an engine's home with it, through steps; whoever asks for the same ones gets a copy."""
    if not engine.settings.is_duckdb:
        _homes.databases = request.getfixturevalue("_kept_databases")
    return lambda steps: _homes.bring(steps, engine, box, new_engine)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was not run and why, a line each, so that nobody takes it for passed; and the figures that tests found."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(f"FIGURE {value}")
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"NOT RUN {report.nodeid}: {reason.removeprefix('Skipped: ')}")
