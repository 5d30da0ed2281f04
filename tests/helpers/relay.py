"""A relay in front of a server: killed and started again, it is a server that dies and comes back.

What the server keeps stays, as a store that loses its network or its front end keeps it.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time


class Relay:
    """One relay, a process of its own on a port that stays the same.

    Args:
        port: of the server on loopback.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Relays; returns once it answers."""
        command = [sys.executable, "-m", "tests.helpers.relay", str(self.port), str(self._to)]
        self._process = subprocess.Popen(command, start_new_session=True)
        for _ in range(900):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            time.sleep(0.1)
        raise AssertionError(f"no relay on port {self.port}")

    def stop(self) -> None:
        """Kills it; its connections are cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def pause(self, number: signal.Signals) -> None:
        """Sends it SIGSTOP or SIGCONT: requests hang, and go on."""
        if self._process is not None:
            self._process.send_signal(number)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _serve(port: int, to: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection(("127.0.0.1", to))
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
