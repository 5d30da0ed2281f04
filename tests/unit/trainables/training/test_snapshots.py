"""A killed trial goes on from its last snapshot, to the result of an unbroken one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny import STEPS, tiny
from trainables.config import to_dict
from trainables.config.names import SNAPSHOT
from trainables.training.context import Context
from trainables.training.snapshots import Snapshot, read_snapshot, write_snapshot
from trainables.trial import run_trial
from trainables.utils.errors import CheckpointError

IDENTITY = {"trial": "abc", "code": "1"}
HELD = Snapshot(
    3, {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(2.0)}, ({"step": 3.0, "x/y": 0.5},)
)

# kills itself, as kill -9 does, at the first report behind the snapshot of step 2
KILLED = """
import json, os, signal, sys
from pathlib import Path
from trainables.training.context import Context
from trainables.config.overrides import from_dict
from trainables.trial import run_trial

def report(metrics):
    if metrics["step"] > 2:
        os.kill(os.getpid(), signal.SIGKILL)

config, folder, cache = sys.argv[1:]
context = Context(folder=Path(folder), cache=Path(cache), report=report)
run_trial(from_dict(json.loads(config)), context)
"""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unlearn__save_every": 1},
        pytest.param(
            {"model": "palette_tiny", "method": "max_loss", "sampling__steps": 2},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_killed_trial_ends_as_an_unbroken_one(options: Any, tmp_path: Path) -> None:
    config = tiny(**options)
    whole = run_trial(config, Context(folder=tmp_path / "whole", cache=tmp_path / "cache"))
    folder = tmp_path / "killed"
    arguments = [json.dumps(to_dict(config)), str(folder), str(tmp_path / "cache")]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (folder / SNAPSHOT).is_file()
    assert not (folder / "result.json").exists()

    steps: list[float] = []
    context = Context(
        folder=folder, cache=tmp_path / "cache", report=lambda m: steps.append(m["step"])
    )
    resumed = run_trial(config, context)
    assert steps == [STEPS]
    assert resumed["resumed_from"] == (3 if "unlearn__save_every" in options else 2)
    assert resumed["metrics"] == whole["metrics"]
    for name in ("weights.safetensors", "history.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (folder / SNAPSHOT).exists()


def test_another_trials_snapshot_is_left_alone(tmp_path: Path) -> None:
    write_snapshot(tmp_path, HELD, IDENTITY)
    assert read_snapshot(tmp_path, {**IDENTITY, "code": "2"}) is None
    found = read_snapshot(tmp_path, IDENTITY)
    assert found is not None
    assert (found.step, found.history) == (HELD.step, HELD.history)
    assert found.tensors.keys() == HELD.tensors.keys()
    assert all(torch.equal(found.tensors[name], each) for name, each in HELD.tensors.items())
    assert read_snapshot(tmp_path / "none", IDENTITY) is None
    assert [each.name for each in tmp_path.iterdir()] == [SNAPSHOT]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-3],
    "a weight changed": lambda content: flipped(content, len(content) - 1),
    "the step changed": lambda content: content.replace(b'\\"step\\": 3,', b'\\"step\\": 4,'),
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_snapshot_is_refused_and_never_ignored(name: str, tmp_path: Path) -> None:
    write_snapshot(tmp_path, HELD, IDENTITY)
    path = tmp_path / SNAPSHOT
    content = path.read_bytes()
    broken = BROKEN[name](content)
    assert broken != content
    path.write_bytes(broken)
    with pytest.raises(CheckpointError) as caught:
        read_snapshot(tmp_path, IDENTITY)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert f"remove {path}" in line
    assert "\n" not in line
