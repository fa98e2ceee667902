"""The files under deploy/ are what their programs expect, as far as that can be told without a container engine or a cluster."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_celery.tags import DAGSTER_CELERY_RUN_PRIORITY_TAG
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dockerfile_parse import DockerfileParser

from mail_ingest.defs.celery import RunCoordinator, RunLauncher
from mail_ingest.defs.celery_worker import make_app
from mail_ingest.errors import ConfigError
from mail_ingest_tests.supply_chain import pins

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CELERY, COMPOSE, VALUES, DOCKERFILE = (
    DEPLOY / "celery" / "dagster.yaml",
    DEPLOY / "docker" / "compose.yaml",
    DEPLOY / "kubernetes" / "values.yaml",
    DEPLOY / "docker" / "Dockerfile",
)


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# Celery


@pytest.fixture
def celery_instance(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of deploy/celery/dagster.yaml; nobody listens where its broker would be."""
    shutil.copy(CELERY, tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database.replace("postgresql:", "postgresql+psycopg2:"))
    monkeypatch.setenv("DAGSTER_CELERY_BROKER_URL", "redis://:hidden@127.0.0.1:1/0")
    monkeypatch.setenv("DAGSTER_CELERY_BACKEND_URL", "redis://:hidden@127.0.0.1:1/1")
    make_app.cache_clear()
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_launcher_and_worker_read_one_file(celery_instance: dg.DagsterInstance) -> None:
    launcher = celery_instance.run_launcher
    assert isinstance(launcher, RunLauncher)

    for app in (launcher.celery, make_app()):
        assert app.conf.broker_url == "redis://:hidden@127.0.0.1:1/0"
        assert app.conf.result_backend == "redis://:hidden@127.0.0.1:1/1"
        assert app.conf.task_track_started
        assert app.conf.worker_disable_prefetch
        assert app.conf.worker_max_tasks_per_child == 1
        assert app.conf.result_expires > celery_instance.run_monitoring_max_runtime_seconds
        assert app.conf.broker_transport_options["priority_steps"] == [0, 1, 2, 3, 4]
    assert "execute_job" in make_app().tasks
    assert "hidden" not in str(celery_instance.get_ref()), "the broker's password would lie in Redis with every run"


def test_a_worker_on_an_instance_that_launches_otherwise_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    make_app.cache_clear()

    with pytest.raises(ConfigError, match=r"DefaultRunLauncher.*deploy/celery/dagster\.yaml"):
        make_app()


@pytest.mark.parametrize(
    ("tags", "priority"),
    [
        ({"dagster/priority": "2"}, "0"),
        ({}, "2"),
        ({"dagster/priority": "-2"}, "4"),
        ({"dagster/backfill": "b"}, "3"),
        ({"dagster/priority": "99"}, "0"),
        ({"dagster/priority": "often"}, "2"),
    ],
)
def test_what_is_urgent_in_the_queue_is_urgent_in_celery(tags: dict[str, str], priority: str) -> None:
    run = dg.DagsterRun("sync", tags=tags)

    assert RunCoordinator().missing_tags(run)[DAGSTER_CELERY_RUN_PRIORITY_TAG] == priority


def test_settings_are_those_of_one_machine_but_for_launching_storage_and_limits() -> None:
    one, several = _read(ROOT / "dagster.yaml"), _read(CELERY)

    assert set(several) - set(one) == {"storage", "run_launcher"}
    assert {name for name in one if one[name] != several[name]} == {"run_coordinator", "concurrency"}
    assert several["run_coordinator"]["config"] == one["run_coordinator"]["config"]
    limits = several["concurrency"]["runs"]
    taken = sum(each["limit"] for each in limits["tag_concurrency_limits"])
    assert limits["max_concurrent_runs"] - taken == 2, "the places for what people ask for"


# containers


def test_the_compose_file_follows_its_schema() -> None:
    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"

    jsonschema.validate(_read(COMPOSE), json.loads(schema.read_text()))


def test_the_services_of_the_compose_file_are_what_the_script_starts() -> None:
    services = _read(COMPOSE)["services"]
    ours = {name: service for name, service in services.items() if "build" in service}

    assert set(services) - set(ours) == {"postgres", "redis"}
    # a program that was installed with the package, and a file that the image has
    for service in ours.values():
        assert Path(sys.executable).with_name(service["command"][0]).exists()
    # whatever a variable is filled with is asked for by name
    wanted = set(re.findall(r"\$\{(\w+):\?\}", COMPOSE.read_text()))
    offered = set(re.findall(r"^(\w+)=$", (COMPOSE.parent / "example.env").read_text(), re.MULTILINE))
    assert wanted == offered
    # what example.env of Celery lists is set, by the file or by the image
    image = DockerfileParser(str(DOCKERFILE)).envs
    listed = set(re.findall(r"^(\w+)=", (CELERY.parent / "example.env").read_text(), re.MULTILINE))
    assert listed <= set(ours["worker"]["environment"]) | set(image)
    assert all((COMPOSE.parent / each.split(":")[0]).is_file() for each in services["postgres"]["volumes"][1:])
    places = services["worker"]["deploy"]["replicas"] * int(ours["worker"]["command"][-1])
    assert places == _read(CELERY)["concurrency"]["runs"]["max_concurrent_runs"]


def test_no_image_is_whatever_was_made_last() -> None:
    texts = [path.read_text() for path in (COMPOSE, VALUES, DOCKERFILE)]
    images = re.findall(r"^(?:FROM| *image:) ([\w./-]+)(?::(\S+))?$", "\n".join(texts), re.MULTILINE)

    assert len(images) >= 4
    assert all(tag and tag != "latest" for _, tag in images)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {tag for name, tag in images if name == "mail_ingest"} == {version}
    assert _read(VALUES)["dagsterDaemon"]["image"]["tag"] == version


def _dockerfile() -> list[tuple[str, str]]:
    return [(each["instruction"], each["value"]) for each in DockerfileParser(str(DOCKERFILE)).structure]


def test_the_dockerfile_copies_what_exists_and_what_reaches_the_engine() -> None:
    instructions = _dockerfile()
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]

    copied = [source for source, _ in _copied(instructions)]
    assert {name for name, _ in instructions} <= {
        *("COMMENT", "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD")
    }
    assert "*" in ignored
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / source).exists() for source in copied)
    # whoever breaks out of a run is nobody
    assert [value for name, value in instructions if name == "USER"] == ["mail_ingest"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_dockerfiles_install_commands_work_in_an_empty_environment(tmp_path: Path) -> None:
    """Its own `pip install`, over the files that it copies and no others; then every program of the compose file."""
    instructions = _dockerfile()
    context, empty = tmp_path / "context", tmp_path / "empty"
    for source, target in _copied(instructions):
        to = context / (target if not target.startswith("/") else f"outside{target}")
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, to)
    venv.create(empty, with_pip=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAIL_INGEST_"))}
    variables["PATH"] = os.pathsep.join([str(empty / "bin"), os.environ["PATH"]])

    commands = [value for name, value in instructions if name == "RUN" and "pip install" in value]
    assert len(commands) == 1
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=context, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    for service in _read(COMPOSE)["services"].values():
        if "build" in service:
            program = service["command"][0]
            help_of = subprocess.run(
                [empty / "bin" / program, "--help"],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
            )
            assert help_of.returncode == 0, help_of.stderr
    modules = "mail_ingest.definitions, mail_ingest.defs.celery_worker, dagster_k8s"
    imported = subprocess.run(
        [empty / "bin" / "python", "-c", f"import {modules}; print(mail_ingest.__file__)"],
        cwd=tmp_path, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith(str(empty))


def _copied(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is copied, and to where in the working folder."""
    found = []
    for name, value in instructions:
        if name == "COPY":
            *sources, target = [word for word in value.split() if not word.startswith("--")]
            found += [(each, each if target == "./" else target) for each in sources]
    return found


# Kubernetes


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


_TEXT, _NUMBER, _YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_ANY, _TEXTS = {"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}
_IMAGE = _object(
    "repository tag pullPolicy", repository=_TEXT, tag=_TEXT, pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]}
)
_NAMED = {"type": "array", "items": _object("name", name=_TEXT)}
_POD = {"podSecurityContext": _ANY, "resources": _object(requests=_ANY, limits=_ANY)}
#: The keys of the chart that we use, with their kinds: a misspelt one would be passed over without a word.
_CHART = _object(
    "global postgresql dagster-user-deployments dagsterWebserver dagsterDaemon runLauncher",
    **{
        "global": _object(postgresqlSecretName=_TEXT),
        "generatePostgresqlPasswordSecret": _YES,
        "postgresql": _object(
            "enabled postgresqlHost postgresqlUsername postgresqlDatabase postgresqlScheme",
            enabled=_YES, postgresqlHost=_TEXT, postgresqlUsername=_TEXT, postgresqlDatabase=_TEXT, postgresqlScheme=_TEXT,
        ),
        "dagster-user-deployments": _object(
            "enabled enableSubchart deployments",
            enabled=_YES,
            enableSubchart=_YES,
            deployments={
                "type": "array",
                "minItems": 1,
                "items": _object(
                    "name image dagsterApiGrpcArgs port",
                    name=_TEXT, image=_IMAGE, port=_NUMBER, dagsterApiGrpcArgs={"type": "array", "items": _TEXT},
                    includeConfigInLaunchedRuns=_object("enabled", enabled=_YES), env=_TEXTS, envSecrets=_NAMED,
                    volumes={"type": "array", "items": _ANY}, volumeMounts={"type": "array", "items": _ANY}, **_POD,
                ),
            },
        ),
        "dagsterWebserver": _object("image", image=_IMAGE, **_POD),
        "dagsterDaemon": _object(
            "enabled image runCoordinator runMonitoring runRetries",
            enabled=_YES,
            image=_IMAGE,
            runCoordinator=_object(
                "enabled type config",
                enabled=_YES,
                type={"const": "CustomRunCoordinator"},
                config=_object(
                    "customRunCoordinator",
                    customRunCoordinator=_object(
                        "module class config", **{"module": _TEXT, "class": _TEXT, "config": _ANY}
                    ),
                ),
            ),
            runMonitoring=_object(
                enabled=_YES, startTimeoutSeconds=_NUMBER, cancelTimeoutSeconds=_NUMBER, maxRuntimeSeconds=_NUMBER,
                pollIntervalSeconds=_NUMBER, freeSlotsAfterRunEndSeconds=_NUMBER, maxResumeRunAttempts=_NUMBER,
            ),
            runRetries=_object(enabled=_YES, maxRetries=_NUMBER, retryOnAssetOrOpFailure=_YES),
            **_POD,
        ),
        "runLauncher": _object(
            "type config",
            type={"const": "K8sRunLauncher"},
            config=_object(
                "k8sRunLauncher",
                k8sRunLauncher=_object(
                    imagePullPolicy=_TEXT,
                    runK8sConfig=_object(containerConfig=_ANY, podSpecConfig=_ANY, jobSpecConfig=_ANY),
                ),
            ),
        ),
        "concurrency": _object(
            enabled=_YES,
            pools=_object(granularity=_TEXT, opGranularityRunBuffer=_NUMBER),
            runs=_object(
                maxConcurrentRuns=_NUMBER,
                tagConcurrencyLimits={"type": "array", "items": _object("key limit", key=_TEXT, value=_TEXT, limit=_NUMBER)},
            ),
        ),
        "pythonLogs": _object(pythonLogLevel=_TEXT, managedPythonLoggers={"type": "array", "items": _TEXT}),
        "retention": _object(
            enabled=_YES,
            schedule=_object(purgeAfterDays=_NUMBER),
            sensor=_object(purgeAfterDays=_object(skipped=_NUMBER, failure=_NUMBER, success=_NUMBER, started=_NUMBER)),
        ),
        "telemetry": _object(enabled=_YES),
        "additionalInstanceConfig": _ANY,
    },
)  # fmt: skip


def test_the_values_are_keys_of_the_chart() -> None:
    jsonschema.validate(_read(VALUES), _CHART)


def test_the_chart_is_told_what_dagster_yaml_says() -> None:
    """What the chart makes its dagster.yaml of, in the words of that file."""
    values, one, celery = _read(VALUES), _read(ROOT / "dagster.yaml"), _read(CELERY)
    daemon = values["dagsterDaemon"]

    coordinator = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    assert coordinator == one["run_coordinator"]
    assert _snake(values["concurrency"]) == {"enabled": True, **celery["concurrency"]}
    assert _snake(daemon["runRetries"]) == one["run_retries"]
    # a pod may have to wait for a machine
    assert _snake(daemon["runMonitoring"]) == {**one["run_monitoring"], "start_timeout_seconds": 300}
    retention = _snake(values["retention"])
    assert retention.pop("enabled")
    assert retention["sensor"]["purge_after_days"].pop("started") == -1
    assert retention == one["retention"]
    logs = values["pythonLogs"]
    assert {"managed_python_loggers": logs["managedPythonLoggers"], "python_log_level": logs["pythonLogLevel"]} == one[
        "python_logs"
    ]
    assert values["additionalInstanceConfig"] == {"nux": one["nux"], "freshness": one["freshness"]}
    assert set(values["additionalInstanceConfig"]) <= set(dagster_instance_config_schema())
    assert pins((ROOT / "constraints.txt").read_text())["dagster"] in VALUES.read_text()


def test_runs_on_kubernetes_are_what_the_api_of_kubernetes_knows() -> None:
    values = _read(VALUES)
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    [deployment] = values["dagster-user-deployments"]["deployments"]
    given = {_snake_word(name): config for name, config in launcher["runK8sConfig"].items()}

    # raises for a field that does not exist, or is of another kind
    UserDefinedDagsterK8sConfig.from_dict(given)
    assert {"run_k8s_config", "image_pull_policy"} <= set(K8sRunLauncher.config_type())
    UserDefinedDagsterK8sConfig.from_dict(
        {
            "container_config": {
                "volume_mounts": deployment["volumeMounts"],
                "resources": deployment["resources"],
                "env_from": [{"secret_ref": each} for each in deployment["envSecrets"]],
            },
            "pod_spec_config": {
                "volumes": deployment["volumes"],
                "security_context": deployment["podSecurityContext"],
            },
        }
    )
    # variables that the pod is given by name are those that the image or the secret lacks
    assert {each["mountPath"] for each in deployment["volumeMounts"]} == {
        deployment["env"]["MAIL_INGEST_HOME"],
        deployment["env"]["MAIL_INGEST_RAW"],
    }


def _snake(value: Any) -> Any:
    """Keys in the chart's spelling as those of dagster.yaml."""
    if isinstance(value, dict):
        return {_snake_word(name): _snake(inner) for name, inner in value.items()}
    return [_snake(inner) for inner in value] if isinstance(value, list) else value


def _snake_word(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
