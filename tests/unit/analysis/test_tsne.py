"""The t-SNE of a small recorded sweep."""

import pytest

from analysis import tsne
from tests.helpers.analyses import run, size_of


@pytest.mark.parametrize("best", [False, True])
def test_tsne_writes_a_panel_a_variant(recorded, tmp_path, best):
    options = ["--best"] if best else []
    assert run(tsne, recorded.storage, "--out", str(tmp_path), *options) == 0
    stem = "mae_tiny_tsne_best" if best else "mae_tiny_tsne"
    panels = 2 if best else 4  # the original and Ours; and Max Loss and Ours with proxy
    assert (tmp_path / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert size_of(tmp_path / f"{stem}.png") == (int(3.2 * panels * 120), int(4.2 * 120))


def test_a_missing_and_a_truncated_trial_file_are_named(storage, capsys):
    path = storage / "quickstart" / "trials" / "ours" / "embeddings.parquet"
    path.write_bytes(path.read_bytes()[:50])
    assert run(tsne, storage) == 2
    assert f"{path} is damaged" in capsys.readouterr().err
    path.unlink()
    assert run(tsne, storage) == 2
    assert f"trial ours left no embeddings.parquet: {path} is missing" in capsys.readouterr().err
