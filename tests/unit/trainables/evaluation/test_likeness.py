"""How alike classes are, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.evaluation.likeness import main

FEW = [
    *("data.train_per_class=40", "data.val_per_class=10", "data.test_per_class=10"),
    *("extractor.steps=20", "extractor.batch_size=32", "extractor.dim=16"),
]


def called(tmp_path: Path, *settings: str) -> int:
    options = [f"--set={text}" for text in settings]
    return main([*options, "--cache", str(tmp_path / "cache")])


def test_distances_of_classes_and_of_roles_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(tmp_path, "data.source=fashion", *FEW) == 0
    out = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out if line[:1] == "|"]
    names = table[0][1:-1]
    assert [row[0] for row in table[2:]] == names
    cells = {row[0]: dict(zip(names, row[1:-1], strict=True)) for row in table[2:]}
    for one in names:
        assert cells[one][one] == ""
        assert all(cells[one][other] == cells[other][one] for other in names)
    assert float(cells["shirt"]["coat"]) < float(cells["shirt"]["sneaker"])
    nearest = {row[0]: row[-1] for row in table[2:]}
    assert nearest["sandal"].startswith("sneaker 0.1")
    cnn, pixels = out[-2:]
    assert cnn.startswith("by the domain CNN: forget to retain at least ")
    # the roles of the product keep footwear apart
    assert "forget to retain at least 0.2" in pixels
    assert "retain to its nearest proxy 0.1" in pixels


def test_mistakes_end_in_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for settings, shown in (
        (["data.source=fashion", "data.forget=boot", "data.retain=coat"], "unknown class 'boot'"),
        (["data.source=fasion"], "data.source='fasion' is not one of"),
        (["data.root=/data"], "data.root=/data is not read by data.source=photos"),
    ):
        assert called(tmp_path, *settings) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert shown in line
