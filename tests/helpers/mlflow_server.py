"""A real MLflow server on loopback, which can be killed and started again where it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


class Server:
    """One server over a folder of its own.

    Args:
        folder: of its database and artifacts; a database that lies there is served.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serves; returns once it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = self.folder / "log"
        with log.open("a") as file:
            self._process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        for _ in range(900):
            if self._process.poll() is not None:
                break
            # its port is open before it answers
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.uri}/health", None, 5),
            ):
                return
            time.sleep(0.2)
        raise AssertionError(log.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signals it and all that it started, and waits for it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(30)
            self._process = None

    def pause(self, number: signal.Signals) -> None:
        """Sends it and all that it started SIGSTOP or SIGCONT: requests hang, and go on."""
        if self._process is not None:
            os.killpg(self._process.pid, number)


@contextlib.contextmanager
def serving(folder: Path, database: Path | None = None) -> Iterator[Server]:
    """A server that answers, until the block ends.

    Args:
        folder: of the server; it is made if it is absent.
        database: is copied there, as making one takes seconds; None for none.
    """
    folder.mkdir(exist_ok=True)
    if database is not None:
        shutil.copy(database, folder / "mlflow.db")
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)  # nothing of it is looked at again
