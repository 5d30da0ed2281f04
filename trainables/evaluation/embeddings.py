"""Reduces embeddings to two dimensions by t-SNE and writes both as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def tsne_points(embeddings: NDArray[np.floating[Any]], seed: int) -> NDArray[np.float32]:
    """Reduces embeddings to two dimensions by t-SNE, from the PCA.

    van der Maaten and Hinton, "Visualizing Data using t-SNE" (JMLR 2008).

    Args:
        embeddings: (N, D) finite values, D at least 2; raw features, not normalised.
        seed: of every random choice; the same input and seed give the same points.

    Returns:
        (N, 2) points. Fewer than 5 embeddings, or equal ones, have no neighbourhoods: they keep
        their first two coordinates, centred.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    values = np.asarray(embeddings, dtype=np.float32)
    centred = values - values.mean(axis=0, keepdims=True)
    if len(values) < 5 or not np.any(np.abs(centred) > 1e-12):
        return np.ascontiguousarray(centred[:, :2])
    perplexity = min(30.0, (len(values) - 1) / 3.0)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=500, n_jobs=1)
    with threadpool_limits(limits=1):  # a sum's last bit depends on the number of threads
        points: NDArray[np.float32] = tsne.fit_transform(centred).astype(np.float32)
    return points


def write_embeddings(
    path: Path,
    groups: Sequence[str],
    index: Sequence[int],
    embeddings: NDArray[np.floating[Any]],
    points: NDArray[np.floating[Any]],
) -> None:
    """Writes `embeddings.parquet`: group, index, embedding (float32 list), x, y (the t-SNE).

    Args:
        path: the file.
        groups: of each embedding, one of `GROUPS`.
        index: the place of its image in the test set.
        embeddings: (N, D).
        points: (N, 2), by `tsne_points`.
    """
    values = np.asarray(embeddings, dtype=np.float32)
    flat = pa.array(values.reshape(-1), pa.float32())
    width = values.shape[1]
    offsets = pa.array(np.arange(0, values.size + 1, width, dtype=np.int32))
    places = np.asarray(points, dtype=np.float32)
    table = pa.table(
        {
            "group": pa.array(list(groups), pa.string()),
            "index": pa.array(list(index), pa.int64()),
            "embedding": pa.ListArray.from_arrays(offsets, flat),
            "x": pa.array(places[:, 0]),
            "y": pa.array(places[:, 1]),
        }
    )
    pq.write_table(table, path)
