"""A sweep of a folder of real photographs among which there is a bad file of every kind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from tests.helpers.command import Captured, refused, setting
from tests.helpers.sweeps import ROOT, TINY, Ended, ledger_states, run, sweep
from tests.helpers.trees import REFUSED, deep_png, encoded

SIDE, STRIDE = 48, 40
# role -> photographs: a class each
CLASSES = {
    "forget": ("astronaut", "coffee"),
    "retain": ("rocket", "coins"),
    "proxy": ("camera",),
}
CONVERTED = ("grey.jpg", "alpha.png", "deep.png", "cmyk.jpg")


def crops(name: str) -> Iterator[Image.Image]:
    """Sixty crops of one of scikit-image's photographs, in rows."""
    image = Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")
    places = [
        (left, top)
        for top in range(0, image.height - SIDE, STRIDE)
        for left in range(0, image.width - SIDE, STRIDE)
    ]
    for left, top in places[:60]:
        yield image.crop((left, top, left + SIDE, top + SIDE))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes of JPEG and PNG crops, and files that are converted or refused among them."""
    tree = tmp_path_factory.mktemp("photographs")
    for name in (name for names in CLASSES.values() for name in names):
        (tree / name).mkdir()
        for number, crop in enumerate(crops(name)):
            crop.save(tree / name / f"{number:03}.{'jpg' if number % 2 else 'png'}")
    for place, (name, (content, _)) in enumerate(REFUSED.items()):
        (tree / ("coffee", "coins", "camera")[place % 3] / name).write_bytes(content)
    crop = next(crops("astronaut"))
    (tree / "rocket" / "grey.jpg").write_bytes(encoded(crop.convert("L"), "JPEG"))
    (tree / "rocket" / "alpha.png").write_bytes(encoded(crop.convert("RGBA"), "PNG"))
    (tree / "rocket" / "cmyk.jpg").write_bytes(encoded(crop.convert("CMYK"), "JPEG"))
    (tree / "rocket" / "deep.png").write_bytes(deep_png(2, 40_000, 20_000, 10_000))
    return tree


def bad_files() -> dict[str, str]:
    """Path -> part of the reason."""
    return {
        f"{('coffee', 'coins', 'camera')[place % 3]}/{name}": reason
        for place, (name, (_, reason)) in enumerate(REFUSED.items())
    }


def of_folder(root: Path) -> list[str]:
    roles = [f"data.{role}={','.join(names)}" for role, names in CLASSES.items()]
    return ["data.source=folder", f"data.root={root}", *roles]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder") / "runs"


@pytest.fixture(scope="module")
def ended(root: Path, storage: Path) -> Ended:
    methods = ("method=original,ours", "search.trials=0", "data.image_size=32")
    near = Path(os.path.relpath(root, ROOT))  # as a user would name it, who stands in some folder
    return run(sweep(storage, *of_folder(near), *methods, options=["--name", "mine"]))


@pytest.fixture(scope="module")
def folder(storage: Path, ended: Ended) -> Path:
    assert ended.status == 0, ended
    return storage / "mine"


def whole(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / name).to_pylist()
    return rows


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(600)
class TestSwept:
    """What one run leaves."""

    def test_refused_files_are_counted_and_named(self, ended: Ended) -> None:
        assert f"{len(REFUSED)} unusable images under " in ended.err
        named = [path for path in bad_files() if path in ended.err]
        assert len(named) == 5
        assert "left out of every method" in ended.err
        assert "Traceback" not in ended.err

    def test_refused_files_are_recorded_with_their_reasons(self, folder: Path) -> None:
        recorded = json.loads((folder / "refused.json").read_text())
        (lost,) = recorded.values()
        assert lost.keys() == bad_files().keys()
        assert all(reason in lost[path] for path, reason in bad_files().items())

    def test_the_manifest_holds_what_is_usable_and_nothing_else(self, folder: Path) -> None:
        manifest = whole(folder, "manifest.parquet")
        paths = {row["path"] for row in manifest}
        assert not paths & bad_files().keys()
        for role, names in CLASSES.items():
            assert {row["class"] for row in manifest if row["role"] == role} == set(names)
        usable = {row["path"].partition("/")[2] for row in manifest if row["class"] == "rocket"}
        assert usable & set(CONVERTED)
        assert json.loads((folder / "refused.json").read_text()).keys() == {
            row["data_hash"] for row in manifest
        }

    def test_every_method_had_the_same_images(self, folder: Path) -> None:
        rows = whole(folder, "results.parquet")
        assert {row["name"] for row in rows} == {"original", "ours", "ours_proxy"}
        assert {row["state"] for row in rows} == {"finished"}
        assert {row["data_hash"] for row in rows} == {
            row["data_hash"] for row in whole(folder, "manifest.parquet")
        }
        assert ledger_states(folder) == {"COMPLETE"}

    def test_figures_say_that_a_network_of_the_folder_made_them(
        self, ended: Ended, folder: Path
    ) -> None:
        assert {row["fid_extractor"] for row in whole(folder, "results.parquet")} == {"folder CNN"}
        assert "FD (folder CNN) of the test images" in ended.out

    def test_the_record_holds_the_refused_and_the_manifest(
        self, storage: Path, folder: Path
    ) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("quickstart")
        assert experiment is not None
        (parent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
        files = {file.path for file in client.list_artifacts(parent.info.run_id)}
        assert {"refused.json", "manifest.parquet"} <= files

    def test_a_sweep_goes_on_with_the_images_that_it_began_with_and_no_others(
        self, storage: Path, root: Path, folder: Path
    ) -> None:
        resume = [sys.executable, "-m", "platform.sweep", "--storage", str(storage)]
        resume += ["--name", "mine", "--resume"]
        before = (folder / "manifest.parquet").read_bytes()
        used = root / whole(folder, "manifest.parquet")[0]["path"]
        content, status = used.read_bytes(), used.stat()
        used.unlink()
        other = run(resume)
        used.write_bytes(content)
        os.utime(used, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert other.status == 2, other
        assert "the images are not those that sweep 'mine' began with" in other.err
        assert run(resume).status == 0
        assert (folder / "manifest.parquet").read_bytes() == before


@pytest.mark.parametrize("strict", [["--strict"], setting("data.strict=true")])
def test_strict_stops_before_anything_is_left(
    capsys: Captured, root: Path, tmp_path: Path, strict: list[str]
) -> None:
    given = setting(*TINY, *of_folder(root), "method=original,ours")
    storage = tmp_path / "runs"
    (line,) = refused(capsys, *given, *strict, "--storage", storage, "--name", "strict")
    assert line.startswith(f"{len(REFUSED)} unusable images under {root}: ")
    assert sum(path in line for path in bad_files()) == 5
    assert line.endswith("mend or remove them, or leave out data.strict")
    assert not (storage / "strict").exists()
    assert not list(storage.glob("*/plan.json"))
    assert not (storage / "mlflow.db").exists()
