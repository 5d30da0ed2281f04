"""Holes: their size and shape, that each row has its own, and that a seed repeats them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from trainables.config import TaskConfig, TaskKind
from trainables.models.masks import hole_on_grid
from trainables.utils.rng import RowGenerators

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
DRAWN: tuple[TaskKind, ...] = ("random", "box", "brush", "hybrid")
AREAS = {"centre": lambda r: r * r, "outpaint": lambda r: 1 - (1 - r) ** 2}
ROWS = 6


def holes(kind: TaskKind, ratio: float, grid: int, rows: range = range(ROWS)) -> Tensor:
    source = RowGenerators(rows, 3, "masks")
    mask = hole_on_grid(TaskConfig(kind=kind, ratio=ratio), grid, len(rows), source)
    assert mask.dtype == torch.bool
    return mask.view(len(rows), grid, grid)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [2, 8, 13, 32])
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.99])
def test_every_row_loses_equally_many_places_and_keeps_some(
    kind: TaskKind, grid: int, ratio: float
) -> None:
    lost = holes(kind, ratio, grid).sum(dim=(1, 2))
    assert len(set(lost.tolist())) == 1
    assert 1 <= int(lost[0]) < grid * grid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.25, 0.4, 0.6])
def test_a_ratio_is_of_the_side_or_of_the_area(kind: TaskKind, ratio: float) -> None:
    wanted = AREAS.get(kind, lambda r: r)(ratio)
    assert float(holes(kind, ratio, 64).float().mean()) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("kind", DRAWN)
def test_a_row_draws_its_own_hole_whatever_its_batch(kind: TaskKind) -> None:
    together = holes(kind, 0.3, 32)
    assert torch.equal(together, holes(kind, 0.3, 32))
    assert torch.equal(together[4:5], holes(kind, 0.3, 32, range(4, 5)))
    assert len({row.numpy().tobytes() for row in together}) == ROWS


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(DRAWN)))
def test_what_draws_nothing_is_the_same_in_every_row(kind: TaskKind) -> None:
    mask = holes(kind, 0.3, 16)
    assert torch.equal(mask, mask[:1].expand_as(mask))


def test_sides_are_where_their_names_say() -> None:
    line = torch.arange(8)
    down, across = line[:, None].expand(8, 8), line[None].expand(8, 8)
    wanted = {
        "left": across < 2,
        "right": across >= 6,
        "up": down < 2,
        "down": down >= 6,
        "centre": (down >= 3) & (down < 5) & (across >= 3) & (across < 5),
        "outpaint": (down < 1) | (down >= 7) | (across < 1) | (across >= 7),
    }
    for kind in KINDS:
        if kind in wanted:
            assert torch.equal(holes(kind, 0.25, 8, range(1))[0], wanted[kind]), kind


@pytest.mark.parametrize("ratio", [0.05, 0.25, 0.8])
def test_a_box_is_a_full_rectangle_of_several_shapes_and_places(ratio: float) -> None:
    shapes, corners = set(), set()
    for mask in holes("box", ratio, 32, range(40)):
        places = mask.nonzero()
        first, last = places.amin(dim=0), places.amax(dim=0)
        height, width = (last - first + 1).tolist()
        assert height * width == len(places)
        shapes.add((height, width))
        corners.add(tuple(first.tolist()))
    assert len(corners) > 10
    if ratio == 0.25:
        assert shapes == {(8, 32), (16, 16), (32, 8)}


def test_strokes_are_as_thin_as_their_share() -> None:
    """Few places of a thin stroke are surrounded by the stroke; most of a box are."""

    def inner_share(kind: TaskKind) -> float:
        mask = holes(kind, 0.1, 64, range(20)).float()[:, None]
        inside = torch.nn.functional.avg_pool2d(mask, 5, 1, padding=2) > 0.99
        return float(inside.sum() / mask.sum())

    assert inner_share("brush") < 0.45 < inner_share("box")


def test_a_hybrid_is_a_box_of_half_the_share_and_strokes() -> None:
    for mask in holes("hybrid", 0.25, 32, range(20)).float():
        # a square of 11 pixels has half of a quarter of the area
        filled = torch.nn.functional.avg_pool2d(mask[None, None], 11, 1)
        assert float(filled.max()) == 1.0
        assert int(mask.sum()) == 256
