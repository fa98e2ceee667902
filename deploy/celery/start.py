#!/usr/bin/env python3
"""Starts everything that mail_ingest needs beyond one machine, on this one: Postgres and Redis from Debian's packages on
loopback, the Dagster webserver, the daemon and Celery workers. Ends all of them with Ctrl-C or SIGTERM.

    apt-get install postgresql redis-server
    .venv/bin/python deploy/celery/start.py --folder /srv/mail_ingest

The folder holds all there is: data of both servers, the raw archive, a home for each worker as if it were a machine of its own,
logs, and the file `env` with passwords and the key, made at the first start. `set -a; . /srv/mail_ingest/env` gives them to
`mail-ingest` in a shell. `processes.json` tells the ids. DEPLOY_POSTGRES_URL, where it is set, is the URL of a superuser of a
server that runs already, instead of Debian's.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: Who writes to which database; see deploy/postgres/databases.sql.
DATABASES = {"mail": "mail_ingest_loader", "mail_control": "mail_ingest_control", "dagster": "dagster"}
#: A worker's runs stop at a safe point within seconds, and end by force after 180.
PATIENCE_S = 200.0


class Processes:
    """What was started, by name. Each leads a process group of its own, and is ended by its id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[Sequence[str | Path], Mapping[str, str] | None]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        """Starts a program that writes to its own log."""
        self._commands[name] = (command, env)
        with (self._folder / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command],
                env=None if env is None else dict(env),
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        ids = {name: process.pid for name, process in self._running.items()}
        (self._folder / "processes.json").write_text(json.dumps(ids, indent=1) + "\n")

    def wait_for(self, name: str, is_ready: Callable[[], bool], within_s: float = 120) -> None:
        """Returns when a program is ready; ends everything where it dies before or takes too long."""
        deadline = time.monotonic() + within_s
        while not is_ready():
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start; see {self._folder / 'logs' / name}.log")
            time.sleep(0.1)

    def watch(self) -> None:
        """Starts workers that die again, as a service manager would; returns when anything else ends."""
        while True:
            for name, process in list(self._running.items()):
                if process.poll() is None:
                    continue
                print(f"{name} ended with {process.returncode}", flush=True)
                if not name.startswith("worker"):
                    return
                time.sleep(1)
                self.start(name, *self._commands[name])
            time.sleep(0.5)

    def end(self) -> None:
        """Ends all: what needs the servers first, and the servers when nobody needs them any more."""
        servers = [self._running.pop(name) for name in ("redis", "postgres") if name in self._running]
        self._end(list(self._running.values()), signal.SIGTERM)
        # Postgres waits for its clients by SIGTERM, and tells its own processes itself
        self._end(servers, signal.SIGINT)

    def _end(self, processes: Sequence[subprocess.Popen[bytes]], sent: signal.Signals) -> None:
        deadline = time.monotonic() + PATIENCE_S
        for process in processes:
            with suppress(ProcessLookupError):
                # the processes of a worker stop their runs themselves
                (os.killpg if sent is signal.SIGTERM else os.kill)(process.pid, sent)
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, required=True, help="where everything is kept; made if it does not exist"
    )
    parser.add_argument("--workers", type=int, default=2, help="Celery workers, two if nothing is said")
    parser.add_argument(
        "--concurrency", type=int, default=5, help="runs at a time in each of them, five if nothing is said"
    )
    parser.add_argument("--port", type=int, default=3000, help="port of the webserver on loopback")
    options = parser.parse_args()
    os.umask(0o077)
    folder: Path = options.folder.resolve()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # a shell that starts this in the background makes it ignore interrupts
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    processes = Processes(folder)
    try:
        serve(folder, options, processes)
        processes.watch()
        return 1
    finally:
        # a second signal must not leave half of them behind
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        processes.end()


def serve(folder: Path, options: argparse.Namespace, processes: Processes) -> None:
    """Starts the servers, then what needs them."""
    # not among the arguments, where everybody sees its password
    given = os.environ.get("DEPLOY_POSTGRES_URL")
    env = environment(folder, given)
    if not given:
        start_postgres(folder, urlsplit(env["MAIL_INGEST_WAREHOUSE"]).port or 0, processes)
    make_databases(given or socket_url(folder, env), env)
    start_redis(folder, urlsplit(env["DAGSTER_CELERY_BROKER_URL"]), processes)
    # what the shell sets beside it, such as MAIL_INGEST_PRIVACY, is for all of them
    shared = {
        **os.environ,
        **env,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    central = of_machine(folder / "central", shared)
    # makes Dagster's tables, which processes that start at the same time would not manage
    subprocess.run([BIN / "dagster", "instance", "migrate"], env=central, check=True, capture_output=True)
    for number in range(1, options.workers + 1):
        name = f"worker-{number}"
        command = [BIN / "celery", "-A", "mail_ingest.defs.celery_worker", "worker", "-n", f"{name}@%h", "-l", "INFO"]
        processes.start(name, [*command, "-c", str(options.concurrency)], of_machine(folder / name, shared))
    for name, arguments in {"daemon": ["run"], "webserver": ["-h", "127.0.0.1", "-p", str(options.port)]}.items():
        processes.start(name, [BIN / f"dagster-{name}", *arguments, "-w", PROJECT / "workspace.yaml"], central)
    processes.wait_for("webserver", lambda: is_open(options.port))
    print(f"Dagster is at http://127.0.0.1:{options.port}, variables for `mail-ingest` in {folder / 'env'}", flush=True)


def environment(folder: Path, postgres: str | None) -> dict[str, str]:
    """The variables in the folder's file `env`, made at the first start: ports, passwords and a key of its own."""
    path = folder / "env"
    if not path.exists():
        made = subprocess.run([BIN / "mail-ingest", "key", "new"], capture_output=True, text=True, check=True)
        redis, server = free_port(), urlsplit(postgres or f"postgresql://127.0.0.1:{free_port()}")
        password = {name: secrets.token_urlsafe(24) for name in (*DATABASES, "redis")}
        host = server.netloc.rpartition("@")[2]
        url = {
            name: urlunsplit(server._replace(netloc=f"{owner}:{password[name]}@{host}", path=f"/{name}"))
            for name, owner in DATABASES.items()
        }
        lines = {
            "MAIL_INGEST_ENV": "production",
            "MAIL_INGEST_HOME": str(folder / "central" / "home"),
            "MAIL_INGEST_WAREHOUSE": url["mail"],
            "MAIL_INGEST_CONTROL": url["mail_control"],
            "MAIL_INGEST_RAW": str(folder / "raw"),
            "MAIL_INGEST_KEY": made.stdout.strip(),
            "DAGSTER_HOME": str(folder / "central" / "dagster"),
            "DAGSTER_POSTGRES_URL": url["dagster"].replace("postgresql:", "postgresql+psycopg2:"),
            "DAGSTER_CELERY_BROKER_URL": f"redis://:{password['redis']}@127.0.0.1:{redis}/0",
            "DAGSTER_CELERY_BACKEND_URL": f"redis://:{password['redis']}@127.0.0.1:{redis}/1",
        }
        path.write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
    # it has the key and all passwords, and may have been copied here
    path.chmod(0o600)
    return dict(line.replace("'", "").split("=", 1) for line in path.read_text().splitlines())


def of_machine(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The same for a machine of its own: nothing but the servers and the raw archive is shared."""
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "deploy" / "celery" / "dagster.yaml", home / "dagster")
    return {**env, "MAIL_INGEST_HOME": str(home / "home"), "DAGSTER_HOME": str(home / "dagster")}


def start_postgres(folder: Path, port: int, processes: Processes) -> None:
    """Debian's server, which refuses to run as root and runs as its own user then."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        raise SystemExit(
            "Postgres is not installed: apt-get install postgresql, or name a server in DEPLOY_POSTGRES_URL"
        )
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "postgres"
    if not data.exists():
        data.mkdir()
        if user:
            folder.chmod(0o711)  # it has to come through
            os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        made = subprocess.run(
            [found[-1].with_name("initdb"), "-D", data, "-U", "postgres", "-E", "UTF8", "--locale", "C.UTF-8",
             "--auth-local", "trust", "--auth-host", "scram-sha-256"],
            capture_output=True, text=True, check=False, user=user, group=user, extra_groups=[] if user else None, cwd="/",
        )  # fmt: skip
        if made.returncode:
            shutil.rmtree(data)
            raise SystemExit(f"initdb ended with {made.returncode}: {made.stderr.strip()}")
    settings = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={data}"]
    processes.start(
        "postgres", [found[-1], "-D", data, *(word for each in settings for word in ("-c", each))], user=user
    )
    # it listens before it lets anybody in, for as long as it recovers from a power cut
    ready = [found[-1].with_name("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(port)]
    processes.wait_for("postgres", lambda: subprocess.run(ready, check=False).returncode == 0)


def socket_url(folder: Path, env: Mapping[str, str]) -> str:
    """The server's superuser, who needs no password where the data lie: nobody else enters that folder."""
    port = urlsplit(env["MAIL_INGEST_WAREHOUSE"]).port
    return f"postgresql://postgres@localhost:{port}/postgres?host={quote(str(folder / 'postgres'), safe='')}"


def make_databases(superuser: str, env: Mapping[str, str]) -> None:
    """Databases and roles that are not there yet, and everybody's password."""
    password = {
        "MAIL_INGEST_LOADER_PASSWORD": env["MAIL_INGEST_WAREHOUSE"],
        "MAIL_INGEST_CONTROL_PASSWORD": env["MAIL_INGEST_CONTROL"],
        "DAGSTER_PASSWORD": env["DAGSTER_POSTGRES_URL"],
    }
    url = urlsplit(superuser)
    user, _, host = url.netloc.rpartition("@")
    without_password = urlunsplit(url._replace(netloc=f"{user.partition(':')[0]}@{host}"))
    secret = {name: urlsplit(its).password or "" for name, its in password.items()}
    if url.password:
        secret["PGPASSWORD"] = unquote(url.password)
    made = subprocess.run(
        [
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--file",
            PROJECT / "deploy" / "postgres" / "databases.sql",
            without_password,
        ],
        env={**os.environ, **secret},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(f"the databases could not be made: {made.stderr.strip()}")


def start_redis(folder: Path, broker: SplitResult, processes: Processes) -> None:
    """Debian's server. What it holds survives it: without its entries Dagster takes running runs for dead."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("Redis is not installed: apt-get install redis-server")
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    settings = data / "redis.conf"
    settings.write_text(
        f'bind 127.0.0.1\nport {broker.port}\nrequirepass {broker.password}\ndir {data}\nappendonly yes\nsave ""\n'
    )
    processes.start("redis", [program, settings])
    processes.wait_for("redis", lambda: is_open(broker.port or 0))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
