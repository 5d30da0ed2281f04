"""Which class plays which role, and which image falls into which split."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.trees import config, encoded, noise, plant
from trainables.config import DataConfig
from trainables.data import load, splits
from trainables.utils.errors import DataError


def test_splits_have_their_shares() -> None:
    counted = Counter(splits.split_of(f"a/{n}.jpg", 3)[0] for n in range(5000))
    for split, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        assert counted[split] / 5000 == pytest.approx(share, abs=0.02)


def refusals(given: DataConfig, tmp_path: Path) -> list[str]:
    """What planning finds; the build refuses too."""
    found = splits.data_faults(given)
    assert found
    with pytest.raises(DataError):
        load(given, tmp_path / "cache")
    assert all("\n" not in line for line in found)
    return found


def test_a_missing_and_an_empty_root_are_named(tmp_path: Path) -> None:
    [line] = refusals(config(tmp_path / "absent"), tmp_path)
    assert line == f"data.root={tmp_path / 'absent'}: no such directory"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "image.png").write_bytes(encoded(noise(1), "PNG"))
    [line] = refusals(config(empty), tmp_path)
    assert line == f"data.root={empty}: no class sub-folders in it"


def test_no_roles_at_all_lists_the_classes(tree: Path, tmp_path: Path) -> None:
    [line] = splits.data_faults(config(tree, forget=(), retain=()))
    assert line.startswith("data.source=folder needs data.forget and data.retain")
    assert line.endswith("cats, dogs")
    with pytest.raises(DataError, match=r"data\.forget: no class named"):
        load(config(tree, forget=(), retain=()), tmp_path / "cache")


def test_unknown_classes_list_close_ones(tree: Path, tmp_path: Path) -> None:
    found = refusals(config(tree, forget=("cat",), retain=("dogs", "zzz")), tmp_path)
    assert found == [
        "data.forget: unknown class 'cat' (close: cats)",
        "data.retain: unknown class 'zzz' (there are: cats, dogs)",
    ]


@pytest.mark.parametrize("name", ["..", ".", "cats/../dogs", "/etc", ""])
def test_a_class_is_a_folder_of_the_root(name: str, tree: Path, tmp_path: Path) -> None:
    [line] = refusals(config(tree, forget=(name,)), tmp_path)
    assert f"unknown class {name!r}" in line


def split_file(tmp_path: Path, text: str) -> DataConfig:
    path = tmp_path / "split.csv"
    path.write_bytes(text.encode("utf-8"))
    return config(tmp_path / "tree", forget=(), retain=(), split_file=str(path))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_split_file_gives_the_roles(mark: str, end: str, tree: Path, tmp_path: Path) -> None:
    plant(tree, ["birds"])
    text = end.join(["class,role", "dogs,forget", "", "cats , retain", "birds,proxy", ""])
    given = split_file(tmp_path, mark + text)
    assert splits.data_faults(given) == []
    dataset = load(given, tmp_path / "cache")
    assert dataset.classes == ("dogs", "cats", "birds")
    roles = {(row["class"], row["role"]) for row in dataset.manifest.to_pylist()}
    assert roles == {("dogs", "forget"), ("cats", "retain"), ("birds", "proxy")}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "the first line must be class,role"),
        ("name,kind\ncats,forget\n", "the first line must be class,role"),
        ("cats,forget\ndogs,retain\n", "the first line must be class,role"),
        ("class,role\ncats,forget\ndogs,keep\n", "line 3: expected CLASS,forget|retain|proxy"),
        ("class,role\ncats\n", "line 2: expected CLASS,forget|retain|proxy"),
        ("class,role\ncats,forget,1\n", "line 2: expected CLASS,forget|retain|proxy"),
        ("class,role\ncats,forget\n", "data.retain: no class named"),
        ("class,role\ncat,forget\ndogs,retain\n", "unknown class 'cat' (close: cats)"),
        (
            "class,role\ncats,forget\ndogs,retain\ncats,retain\n",
            "class 'cats' is in data.forget and data.retain",
        ),
    ],
)
def test_a_faulty_split_file_is_named_by_line(
    text: str, part: str, tree: Path, tmp_path: Path
) -> None:
    [line] = refusals(split_file(tmp_path, text), tmp_path)
    assert part in line


def test_a_split_file_that_cannot_be_read_is_named(tree: Path, tmp_path: Path) -> None:
    given = split_file(tmp_path, "")
    path = Path(given.split_file)
    path.write_bytes(b"class,role\ncaf\xe9,forget\n")
    assert f"data.split_file={path}: " in refusals(given, tmp_path)[0]
    path.unlink()
    [line] = refusals(given, tmp_path)
    assert "No such file" in line
    assert str(path) in line


def test_finding_mistakes_imports_no_torch(tree: Path) -> None:
    program = (
        "import sys\n"
        "from trainables.config import DataConfig\n"
        "from trainables.data import splits\n"
        f"given = DataConfig(source='folder', root={str(tree)!r}, forget=('cat',))\n"
        "assert len(splits.data_faults(given)) == 2, splits.data_faults(given)\n"
        "heavy = {'torch', 'timm', 'PIL', 'sklearn', 'skimage', 'matplotlib', 'ray'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
