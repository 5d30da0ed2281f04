"""Cuts the part of Fashion-MNIST that comes with the product.

`python -m trainables.data.labelled.fashion FOLDER` reads the four original files, as Debian's
package `dataset-fashion-mnist` has them in /usr/share/datasets/fashion-mnist, and writes
`fashion.parquet`: of each class the first 900 training images, the next 200 for validation, and the
first 200 test images. An image is a grey PNG, padded from 28 to 32 pixels a side by black. Its row
also holds where it comes from, and the SHA-256 of its 784 original bytes. The same originals and
the locked packages give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainables.data.labelled.readers import FASHION

NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# images of a class: where in the original file's order they begin, and behind which they end
SPLITS = {"train": ("train", 0, 900), "val": ("train", 900, 1100), "test": ("t10k", 0, 200)}
_MARGIN = 2
_FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": list(NAMES), "_type": "ClassLabel"},
    **{name: {"dtype": "string", "_type": "Value"} for name in ("split", "file")},
    "index": {"dtype": "int32", "_type": "Value"},
    "sha256": {"dtype": "binary", "_type": "Value"},
}
_SCHEMA = pa.schema(
    {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "label": pa.int64(),
        "split": pa.string(),
        "file": pa.string(),
        "index": pa.int32(),
        "sha256": pa.binary(),
    },
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 where the originals are not there."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.data.labelled.fashion", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="of the four *-ubyte.gz files")
    parser.add_argument("--out", type=Path, default=FASHION, help="the file that is written")
    options = parser.parse_args(arguments)
    try:
        cut(options.folder, options.out)
    except (OSError, EOFError, ValueError) as error:
        sys.stderr.write(f"error: {options.folder}: not the files of Fashion-MNIST ({error})\n")
        return 2
    return 0


def cut(folder: Path, out: Path) -> None:
    """Writes the part.

    Args:
        folder: of the original files.
        out: the Parquet file.

    Raises:
        OSError: an original cannot be read.
        ValueError: an original is damaged, or has too few images.
    """
    rows = [row for split in SPLITS for row in _rows(folder, split)]
    # the images are stored and not deflated each: compressed together they take a quarter less
    pq.write_table(
        pa.Table.from_pylist(rows, schema=_SCHEMA),
        out,
        compression="zstd",
        compression_level=19,
        use_dictionary=["split", "file"],
        write_statistics=False,
        data_page_size=2**26,
    )


def _rows(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    file, start, end = SPLITS[split]
    images = read_idx(folder / f"{file}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{file}-labels-idx1-ubyte.gz")
    for label in range(len(NAMES)):
        places = np.nonzero(labels == label)[0][start:end]
        if len(places) < end - start:
            raise ValueError(f"{file} has too few images of {NAMES[label]}")
        for place in places.tolist():
            yield {
                "image": {"bytes": _png(images[place]), "path": f"{file}-{place}.png"},
                "label": label,
                "split": split,
                "file": file,
                "index": place,
                "sha256": hashlib.sha256(images[place].tobytes()).digest(),
            }


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Returns the bytes of a packed IDX file, shaped as its head says.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no IDX file of bytes.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is no IDX file of bytes")
    sizes = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)


def _png(image: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.pad(image, _MARGIN)).save(written, "PNG", compress_level=0)
    return written.getvalue()


if __name__ == "__main__":
    sys.exit(main())
