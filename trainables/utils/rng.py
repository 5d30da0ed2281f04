"""Random draws that belong to a sample, not to the process or the batch that happens to hold it.

A row's masks and noise are drawn from a generator seeded by (seed, stream, row), so one process
with a batch of 64 and two with 32 each draw the same numbers, and an image's completion does not
depend on its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def mix_seed(*parts: int | str) -> int:
    """Returns a 63-bit seed made of several parts: different parts, unrelated seeds."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class RowGenerators:
    """Draws random numbers from one generator a row.

    Args:
        rows: what each row is keyed by: its place in the global batch, or the index of its image.
        parts: the seed and whatever else names this use (a step, a purpose).
    """

    def __init__(self, rows: Sequence[int], *parts: int | str) -> None:
        self._generators = [
            torch.Generator().manual_seed(mix_seed(*parts, int(row))) for row in rows
        ]

    def take(self, places: Sequence[int]) -> RowGenerators:
        """Returns the generators of some rows; what these draw, the other rows have not drawn."""
        chosen = RowGenerators(())
        chosen._generators = [self._generators[place] for place in places]
        return chosen

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers `(rows, *shape)`, float32 on the CPU."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def uniform(self, *shape: int) -> Tensor:
        """Draws uniform numbers in [0, 1) `(rows, *shape)`, float32 on the CPU."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators])


RandomSource = RowGenerators | torch.Generator | None


def normal_like(reference: Tensor, source: RandomSource) -> Tensor:
    """Draws standard normal numbers of the shape, type and device of `reference` `(B, ...)`.

    Args:
        reference: gives the shape.
        source: a generator a row, one generator, or None for torch's global one.
    """
    if isinstance(source, RowGenerators):
        return source.normal(*reference.shape[1:]).to(reference)
    return torch.randn(reference.shape, generator=source).to(reference)


def take_rows(source: RandomSource, places: Sequence[int]) -> RandomSource:
    """Returns a source for some rows alone."""
    return source.take(places) if isinstance(source, RowGenerators) else source


def uniform_rows(rows: int, shape: Sequence[int], source: RandomSource) -> Tensor:
    """Draws uniform numbers in [0, 1) `(rows, *shape)`, float32 on the CPU."""
    if isinstance(source, RowGenerators):
        return source.uniform(*shape)
    return torch.rand((rows, *shape), generator=source)
