"""A real S3-compatible server on loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "not-to-be-told",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_BUCKET = "runs"


class ObjectStore:
    """One server, with an empty bucket.

    Args:
        folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._log = folder / "object-store.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            region_name=VARIABLES["AWS_REGION"],
            aws_access_key_id=VARIABLES["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=VARIABLES["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=_BUCKET)

    @property
    def port(self) -> int:
        """It listens there."""
        return int(self._port)

    def address(self, name: str, port: int | None = None) -> str:
        """Returns the address of a folder in the bucket, through a relay if its port is given."""
        there = f"127.0.0.1:{self._port if port is None else port}"
        return f"s3://{_BUCKET}/{name}?scheme=http&endpoint_override={there}"

    def start(self) -> None:
        """Serves; returns once it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        with self._log.open("a") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file)
        for _ in range(900):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None
