"""Images a second that reach a training step: 0, 1, 2 workers, files against a Parquet store.

    python -m benchmarks.loader                  # crops of scikit-image's photographs
    python -m benchmarks.loader --root IMAGENET  # the paper's classes of an ImageNet-1k

The ratios are within one run. What a step does with the images is left out: it shows what the
loader can give.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from trainables.config import PAPER_SIZES, DataConfig, LoaderConfig
from trainables.config.data import StoreName
from trainables.data import load
from trainables.data.batches import Batches, Pool

FORGET, RETAIN = ("n01443537", "n01484850"), ("n09835506", "n10565667")
STORES: tuple[StoreName, ...] = ("files", "parquet")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def plant(root: Path, each: int) -> None:
    """A tree of JPEGs of ImageNet's usual size, 500 x 375 pixels."""
    chance = np.random.default_rng(0)
    whole = [Image.fromarray(getattr(data, name)()).resize((700, 525)) for name in PHOTOGRAPHS]
    for split, count in (("train", each), ("val", 10)):
        for place, wnid in enumerate((*FORGET, *RETAIN)):
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                x, y = int(chance.integers(200)), int(chance.integers(150))
                crop = whole[place].crop((x, y, x + 500, y + 375))
                crop.save(folder / f"{wnid}_{number}.JPEG", quality=92)


def rate(config: DataConfig, cache: Path, workers: int, steps: int, batch: int) -> float:
    """Images a second, the workers' start left out."""
    dataset = load(config, cache)
    pools = tuple(
        Pool(dataset.rows(role, "train"), batch // 2, role == "forget", role)
        for role in ("retain", "forget")
    )
    batches = Batches(dataset, pools, 0, loader=LoaderConfig(workers=workers))
    with contextlib.closing(batches.steps(0, steps + workers + 1)) as coming:
        for _ in range(workers + 1):
            next(coming)
        start = time.perf_counter()
        count = sum(len(each.content) for each in coming)
        return count / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="of an ImageNet-1k; made up if left out")
    parser.add_argument("--images", type=int, default=100, help="of each class that is made up")
    parser.add_argument("--cache", type=Path, help="of the manifest and the store")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--augment", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = PAPER_SIZES["imagenet"]
    with tempfile.TemporaryDirectory() as made:
        if options.root is None:
            plant(Path(made) / "tree", options.images)
        root = options.root or Path(made) / "tree"
        first = 0.0
        for store in STORES:
            for workers in options.workers:
                config = DataConfig(
                    source="imagenet",
                    root=str(root.absolute()),
                    # of the made up tree, or the paper's
                    forget=() if options.root else FORGET,
                    retain=() if options.root else RETAIN,
                    store=store,
                    augment=options.augment,
                    image_size=sizes["image_size"],
                    train_per_class=sizes["train_per_class"],
                    val_per_class=sizes["val_per_class"],
                    test_per_class=sizes["test_per_class"],
                )
                cache = options.cache or Path(made) / "cache"
                found = rate(config, cache, workers, options.steps, options.batch)
                first = first or found
                print(f"{store:<8} {workers} workers {found:8.0f} images/s {found / first:6.2f} x")


if __name__ == "__main__":
    main()
