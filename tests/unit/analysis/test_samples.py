"""The samples of a small recorded sweep, side by side."""

import io

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from analysis import samples
from tests.helpers.analyses import run


def test_samples_show_the_variants_on_the_same_images(recorded, tmp_path):
    assert run(samples, recorded.storage, "--out", str(tmp_path)) == 0
    picture = Image.open(tmp_path / "mae_tiny_samples.png")
    columns = 6  # input, truth, original, Max Loss, Ours, Ours with proxy
    assert picture.width == 2 * 16 + columns * 102 - 6
    assert (tmp_path / "mae_tiny_samples.pdf").read_bytes().startswith(b"%PDF")
    pixels = np.asarray(picture)
    table = pq.read_table(recorded.folder / "trials" / "ours" / "samples.parquet").to_pylist()
    assert {row["kind"] for row in table} == {"input", "truth", "original", "unlearned"}
    for row in table:
        tile = np.asarray(Image.open(io.BytesIO(row["png"])))
        tile = tile.repeat(12, 0).repeat(12, 1)
        starts = np.argwhere((pixels == tile[0, 0]).all(-1))
        assert any(np.array_equal(pixels[y : y + 96, x : x + 96], tile) for y, x in starts)


def test_samples_of_other_images_are_refused(storage, capsys):
    path = storage / "quickstart" / "trials" / "ours" / "samples.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(4), path)
    assert run(samples, storage) == 2
    assert "the samples of Ours are not of the same images" in capsys.readouterr().err
