"""What a trial leaves to look at: the grid, the t-SNE, and their tables."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from trainables.evaluation import figures
from trainables.evaluation.embeddings import tsne_points, write_embeddings


def images(n=4, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_grid_holds_every_image_enlarged_by_whole_pixels(tmp_path):
    columns = {"truth": images(3), "unlearned": images(3, seed=1)}
    path = tmp_path / "samples.png"
    figures.sample_grid(path, columns, ["forget", "retain", "retain"], title="Ours")
    picture = np.asarray(Image.open(path))
    for shown in columns.values():
        for pixels in figures.to_pixels(shown):
            tile = pixels.repeat(3, 0).repeat(3, 1)
            assert tile.shape == (96, 96, 3)
            assert contains(picture, tile)


def contains(picture, tile):
    found = np.argwhere((picture == tile[0, 0]).all(-1))
    height, width = tile.shape[:2]
    return any(np.array_equal(picture[y : y + height, x : x + width], tile) for y, x in found)


def test_grid_puts_roles_in_blocks_of_their_colour(tmp_path):
    columns = {"truth": images(4, size=16)}
    roles = ["retain", "forget", "retain", "forget"]
    beside = figures.compose_grid({"truth": figures.to_pixels(columns["truth"])}, roles, title="")
    below = figures.compose_grid(
        {"truth": figures.to_pixels(columns["truth"])}, roles, title="", stacked=True
    )
    assert beside.width > below.width
    assert below.height > beside.height
    pixels = np.asarray(beside)
    for role in ("forget", "retain"):
        colour = tuple(int(figures.ROLE_COLOURS[role][i : i + 2], 16) for i in (1, 3, 5))
        assert (pixels == colour).all(-1).sum() > 1000


def test_grid_leaves_images_of_96_pixels_and_more_as_they_are(tmp_path):
    figures.sample_grid(tmp_path / "a.png", {"truth": images(1, size=128)}, ["forget"], title="")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert contains(picture, figures.to_pixels(images(1, size=128))[0])


def test_pixels_are_rounded_and_clipped():
    values = torch.tensor([-1.0, 0.0, 0.499, 0.5, 1.0, 2.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert figures.to_pixels(values)[0, 0, :, 0].tolist() == [0, 0, 127, 128, 255, 255]


def test_tsne_keeps_clusters_apart_and_repeats_itself():
    draws = np.random.default_rng(0)
    centres = np.repeat(draws.normal(scale=20, size=(4, 16)), 15, axis=0)
    embeddings = centres + draws.normal(size=centres.shape)
    points = tsne_points(embeddings, seed=3)
    assert points.shape == (60, 2)
    assert points.dtype == np.float32
    middles = points.reshape(4, 15, 2).mean(1)
    spread = np.linalg.norm(points.reshape(4, 15, 2) - middles[:, None], axis=-1).max()
    between = min(
        np.linalg.norm(middles[i] - middles[j]) for i in range(4) for j in range(4) if i < j
    )
    assert between > 2 * spread
    np.testing.assert_array_equal(points, tsne_points(embeddings, seed=3))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 31])
def test_tsne_of_few_points_is_finite_and_silent(count):
    embeddings = np.random.default_rng(count).normal(size=(count, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = tsne_points(embeddings, seed=0)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()


def test_tsne_of_equal_points_is_finite():
    assert np.isfinite(tsne_points(np.ones((20, 4)), seed=0)).all()


def test_tsne_figure_writes_png_and_the_same_pdf_twice(tmp_path):
    groups = [group for group in figures.GROUPS for _ in range(5)]
    points = np.random.default_rng(0).normal(size=(20, 2))
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}.png", tmp_path / f"{name}.pdf"]
        figures.tsne_figure(paths, points, groups, title="Ours", subtitle="photos CNN")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (768, 624)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    for suffix in (".png", ".pdf"):
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second


def test_a_panel_has_marks_and_a_legend_for_the_groups_that_there_are() -> None:
    axes = Figure().subplots()
    figures.tsne_panel(axes, np.zeros((4, 2)), ["original/retain", "original/forget"] * 2)
    assert axes.get_legend_handles_labels()[1] == ["original, retain", "original, forget"]


def test_samples_table_returns_every_image(tmp_path):
    columns = {"truth": images(2), "unlearned": images(2, seed=1)}
    figures.write_samples(tmp_path / "s.parquet", columns, ["forget", "retain"], [11, 4])
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    found = {(row["role"], row["index"], row["kind"]): row["png"] for row in rows}
    assert len(rows) == len(found) == 4
    shown = np.asarray(Image.open(io.BytesIO(found["retain", 4, "unlearned"])))
    np.testing.assert_array_equal(shown, figures.to_pixels(columns["unlearned"])[1])


def test_samples_table_refuses_rows_without_an_index(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        figures.write_samples(tmp_path / "s.parquet", {"truth": images(2)}, ["forget"] * 2, [1])


def test_embeddings_table_returns_vectors_and_points(tmp_path):
    embeddings = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    points = np.arange(8.0).reshape(4, 2)
    write_embeddings(tmp_path / "e.parquet", figures.GROUPS, [5, 6, 7, 8], embeddings, points)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["group", "index", "embedding", "x", "y"]
    assert table.schema.field("embedding").type.value_type == "float"
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), embeddings)
    assert table["group"].to_pylist() == list(figures.GROUPS)
    np.testing.assert_array_equal(np.column_stack([table["x"], table["y"]]), points)


def test_import_is_light():
    code = (
        "import sys, trainables.evaluation.figures;"
        "print({'torch', 'sklearn', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
