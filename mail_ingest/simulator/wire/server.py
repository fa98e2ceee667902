"""Runs the application on uvicorn, in a thread of its own or in the calling one."""

import asyncio
import contextlib
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mail_ingest.simulator.wire.app import Application
from mail_ingest.simulator.world import World

_TICK_S = 0.5  # how often the Date header is renewed and signals are looked at


class _Protocol(HttpToolsProtocol):
    """Lets the application reach the connection, to cut it when a fault asks for that."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"simulator": {"transport": self.transport}}


class _PromptServer(uvicorn.Server):
    """Stops within a millisecond, whatever requests hang: tests start and stop hundreds of servers."""

    _loop: asyncio.AbstractEventLoop | None = None
    _stopped: asyncio.Event

    async def main_loop(self) -> None:
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def stop(self) -> None:
        """To be called from another thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopped.set)


class Server:
    """An HTTP server on loopback; the port is open as soon as the object exists."""

    def __init__(self, world: World, port: int = 0, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((host, port), backlog=2_048)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        world.url = self.url
        options: dict[str, Any] = {
            "http": _Protocol,
            "loop": "uvloop",
            "ws": "none",
            "lifespan": "off",
            "access_log": False,
            "log_level": "critical",
            "server_header": False,
            "timeout_keep_alive": 240,
        }
        self._server = _PromptServer(uvicorn.Config(Application(world), **options))
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Serves until the process is interrupted or `stop` is called."""
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serves from a daemon thread. Connections made before the loop runs wait in the backlog."""
        self._thread = threading.Thread(target=self.serve, name="gmail-simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._socket.close()
