"""The command that looks at a data set before it is used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import published as trees
from tests.helpers.published import SIZES
from trainables.data.__main__ import _measurable, main


def check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: Any
) -> tuple[int, str, list[str]]:
    status = main(["check", *map(str, arguments), "--storage", str(tmp_path / "runs")])
    shown = capsys.readouterr()
    return status, shown.out, shown.err.splitlines()


def settings(**fields: Any) -> list[str]:
    return [f"--set=data.{name}={value}" for name, value in fields.items()]


ROLES = settings(
    forget=",".join(trees.FORGET), retain=",".join(trees.RETAIN), image_size=16, **SIZES
)


@pytest.mark.parametrize(
    ("fewest", "told"),
    [
        (9, ["too few to be measured: 9 test images of the forget classes"]),
        (10, ["320 by the small network, 10240 by Inception; of test there are 10"]),
        (320, [": 10240 by Inception; of test there are 320"]),
        (10240, []),
    ],
)
def test_check_tells_how_many_images_measuring_wants(fewest: int, told: list[str]) -> None:
    many = 20000
    counts = {(role, split): many for role in ("retain", "forget") for split in ("val", "test")}
    found = _measurable({**counts, ("forget", "test"): fewest, ("proxy", "test"): 0})
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))


def test_check_counts_names_the_unusable_and_writes_the_manifest(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path
) -> None:
    trees.spoil(copy / "val" / trees.RETAIN[0] / "ILSVRC2012_val_00020001.JPEG")
    trees.spoil(copy / "val" / trees.RETAIN[0] / "ILSVRC2012_val_00020002.JPEG")
    status, out, faults = check(capsys, tmp_path, copy, *ROLES)
    assert (status, faults) == (0, [])
    assert "imagenet in " in out
    assert "forget          2        8        4        6" in out
    assert "retain          1        4        2        2" in out
    assert "no proxy images" in out
    assert "1 classes have fewer test images than asked for: n09835506 (2 of 3)" in out
    assert "unusable, left out: val/n09835506/ILSVRC2012_val_00020001.JPEG: corrupt" in out
    assert "too few to be measured: 2 val images of the retain classes; a sweep wants 10" in out
    assert out.endswith("usable\n")
    manifest = pq.read_table(tmp_path / "runs" / "imagenet.parquet")
    assert manifest.num_rows == 26
    assert manifest.column_names == ["path", "class", "role", "split", "content_hash"]


def test_check_tells_of_missing_classes(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path
) -> None:
    shutil.rmtree(copy / "val" / trees.FORGET[1])
    status, out, faults = check(capsys, tmp_path, copy, *ROLES)
    assert status == 2
    assert "classes: 5 to train, 4 to test" in out
    [line] = faults
    assert "no folder of 1 of the 2 forget classes among the validation images: n01484850" in line
    assert "https://image-net.org/download-images" in line


def test_check_finds_places_and_coco_by_their_layout(
    capsys: pytest.CaptureFixture[str], coco: Path, tmp_path: Path
) -> None:
    places = trees.places(tmp_path / "places")
    roles = settings(forget="airfield", retain="barn", image_size=16, **SIZES)
    status, out, faults = check(capsys, tmp_path, places, "--proxy-root", coco, *roles)
    assert (status, faults) == (0, [])
    assert "places365 in " in out
    assert "4 to train, 4 to test (flat, labelled by places365_val.txt)" in out
    assert "proxy           1        4        0        0" in out
    status, out, faults = check(capsys, tmp_path, coco, *settings(image_size=16, proxy_per_class=7))
    assert (status, faults) == (0, [])
    assert "proxy           1        7        0        0" in out
    for name, shown in (("places365_val.txt", "is flat and"), ("val_256", "no val_256/")):
        target = places / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        status, _, [line] = check(capsys, tmp_path, places, *roles)
        assert status == 2
        assert shown in line
        assert "places2.csail.mit.edu" in line


def test_check_tells_of_a_wrong_root(
    capsys: pytest.CaptureFixture[str], imagenet: Path, coco: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, shown in (
        ([tmp_path / "absent"], "absent: no such directory"),
        ([tmp_path / "empty"], "has no known layout (imagenet: train/<wnid>"),
        ([imagenet.parent, "--source", "imagenet"], f"give {imagenet}"),
        ([imagenet / "train", "--source", "imagenet"], f"give {imagenet}"),
        ([coco / "train2017", "--source", "coco"], f"give {coco}"),
        ([tmp_path / "empty", "--source", "places365"], "not Places-365, which has train_256/"),
        ([imagenet, "--set", "seed=1"], "is not data.KEY=VALUE"),
    ):
        status, _, [line] = check(capsys, tmp_path, *arguments)
        assert status == 2
        assert line.startswith("error: ")
        assert shown in line


def test_check_looks_at_a_folder_of_classes(
    capsys: pytest.CaptureFixture[str], imagenet: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(imagenet / "train", tmp_path / "own"))
    for name, plain in zip(trees.FORGET, ("cats", "dogs"), strict=True):
        (root / name).rename(root / plain)
    for name in (*trees.RETAIN, *trees.PROXY):
        shutil.rmtree(root / name)
    status, out, [line] = check(capsys, tmp_path, root)
    assert status == 2
    assert "classes: 2 (cats, dogs)" in out
    assert "needs data.forget and data.retain" in line
    named = settings(forget="cats", retain="dogs", image_size=16, seed=2)
    status, out, faults = check(capsys, tmp_path, root, *named)
    assert (status, faults) == (0, [])
    assert "folder.parquet" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "data.root=x"], "--set data.root is not read: ROOT says it; leave it out"),
        (
            ["--set", "data.source=folder"],
            "--set data.source is not read: --source says it; leave it out",
        ),
        (
            ["--proxy-root", "c", "--set", "data.proxy_root=d"],
            "--set data.proxy_root is not read: --proxy-root says it; leave it out",
        ),
        (["--set", "data.seed=1", "--set", "data.seed=2"], "data.seed is set twice"),
        (
            ["--set", "data.store_side=64"],
            "data.store_side=64 changes nothing here: it is read only with data.store=parquet; "
            "leave it out",
        ),
        (
            ["--source", "coco", "--proxy-root", "c"],
            "--proxy-root is not read where ROOT is COCO's: leave it out",
        ),
        (
            ["--source", "coco", "--set", "data.val_per_class=3"],
            "--set data.val_per_class is not read of COCO alone: leave it out",
        ),
    ],
)
def test_check_refuses_what_it_would_ignore(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    assert check(capsys, tmp_path, copy, *arguments)[::2] == (2, [f"error: {told}"])
