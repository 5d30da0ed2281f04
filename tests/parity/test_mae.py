"""MAE computes what the published model computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.weights import fill, smooth_images
from trainables.models import build_model

DATA = Path(__file__).parent / "data"
TINY = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 4,
    "decoder_embed_dim": 32,
    "decoder_depth": 1,
    "decoder_num_heads": 4,
}


@pytest.mark.parametrize(
    ("file", "options"), [("mae_tiny", TINY), ("mae_vit_base_patch16", {"image_size": 224})]
)
def test_names_and_shapes_are_the_published_ones(file: str, options: dict[str, int]) -> None:
    published = json.loads((DATA / f"{file}.keys.json").read_text())
    with torch.device("meta"):
        model = build_model("mae", **{**TINY, **options} if file == "mae_tiny" else options)
    assert {name: list(each.shape) for name, each in model.state_dict().items()} == published


def test_numbers_are_the_published_ones() -> None:
    wanted = {
        name: torch.from_numpy(value) for name, value in np.load(DATA / "mae_tiny.npz").items()
    }
    model = build_model("mae", **TINY).eval()
    fill(model, seed=3)
    images, mask = smooth_images(3, 3, 32), wanted["mask"].bool()
    with torch.inference_mode():
        latent = model.encode(images, mask)
        patches = model.decode(latent, mask)
        rows = model.task_loss({"images": images, "mask": mask})
    found = {
        "latent": latent,
        "pred": patches,
        "reconstruction": model.unpatchify(patches),
        "loss": rows.total.sum() / rows.places.sum(),
    }
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-6, msg=name)


def test_fresh_position_tables_are_sine_cosine() -> None:
    model = build_model("mae", **TINY)
    table = model.pos_embed[0]
    assert float(table[0].abs().max()) == 0.0
    # the first quarter is the sine of the column, so it is constant down a column
    grid = table[1:].reshape(8, 8, 64)
    assert torch.equal(grid[0, :, 0], torch.sin(torch.arange(8, dtype=torch.float64)).float())
    assert torch.equal(grid[:, 3, 0], grid[0, 3, 0].expand(8))
