"""Looks at a data set before it is used: what is there, what is missing and where to get it.

`check ROOT` decodes every image that a sweep with the same settings would use, writes the manifest
and leaves its work in the storage's cache, where that sweep finds it. Data that come with the
product have no ROOT: `check --source fashion`. Exit status: 0 where the data can be used, 2 where
not.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq

from trainables.config import (
    COCO,
    EMBEDDED,
    LABELLED,
    PAPER_SIZES,
    PUBLISHED,
    DataConfig,
    EvaluationConfig,
    ExtractorConfig,
    SourceName,
    TrialConfig,
)
from trainables.config.overrides import apply_overrides, parse_value
from trainables.config.readers import unread
from trainables.data.dataset import Dataset
from trainables.data.layouts import EXPECTED, guess_source, open_tree, paper_split
from trainables.data.splits import ROLES, SPLITS, data_faults, known_classes
from trainables.utils.addresses import is_address
from trainables.utils.errors import ConfigError, DataError, UserError
from trainables.utils.files import make_folder, replacing
from trainables.utils.object_store import working_copy
from trainables.utils.text import first_few, one_line

_TELL_EVERY_S = 5.0
_NAMED = 10
_SOURCES = (*get_args(SourceName), COCO)
# COCO's images are one class, all of them to train on
_READ_OF_COCO = [f"data.{name}" for name in ("image_size", "seed", "strict", "store", "store_side")]
_READ_OF_COCO += ["data.proxy_per_class", "data.train_per_class"]
# a covariance of D features wants so many times D images; D is the small network's, and Inception's
_TIMES = 5
_WIDTHS = {"the small network": ExtractorConfig().dim, "Inception": 2048}


class _Progress:
    """Reports on standard error, every few seconds, how many images were decoded."""

    def __init__(self) -> None:
        self._start = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < _TELL_EVERY_S:
            return
        self._told = now
        left = (now - self._start) / done * (total - done)
        sys.stderr.write(f"decoded {done} of {total} images, about {left:.0f} s left\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 where the data can be used, 2 where not."""
    options = _parser().parse_args(arguments)
    logging.getLogger("trainables").addHandler(logging.NullHandler())  # told below, in full
    try:
        source = _source(options.root, options.source)
        config = _config(source, options)
        found = [] if source == COCO else data_faults(config)
        sys.stdout.write("".join(f"{line}\n" for line in _describe_directory(source, config)))
        if found:
            raise ConfigError(found)
        storage = _storage(options.storage)
        dataset = _load(source, config, storage / "cache")
        _write_manifest(dataset, options.manifest or storage / f"{source}.parquet")
    except (UserError, OSError) as error:
        for line in getattr(error, "problems", [str(error)]):
            sys.stderr.write(f"error: {one_line(line, None)}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in _describe_dataset(dataset, source, config)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainables.data", description=__doc__)
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="what a data set holds and lacks", description=__doc__
    )
    check.add_argument("root", type=Path, nargs="?", help="the data set's directory")
    check.add_argument("--source", choices=_SOURCES, help="its layout; found out if left out")
    check.add_argument("--proxy-root", type=Path, help="COCO, in place of proxy classes")
    check.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="data.KEY=VALUE",
        help="as of a sweep; sizes are the paper's unless given",
    )
    text = "of the sweeps, a folder or s3://...; ./runs"
    check.add_argument("--storage", default="runs", help=text)
    check.add_argument("--manifest", type=Path, help="the Parquet file; STORAGE/SOURCE.parquet")
    return parser


def _storage(asked: str) -> Path:
    """Returns the folder of sweeps; for an address, this node's copy, whose cache is uploaded."""
    return working_copy(asked).local if is_address(asked) else Path(asked)


def _source(root: Path | None, given: str | None) -> str:
    if given and (root or given in EMBEDDED):
        return given  # what is missing there is told where it is read
    if root is None:
        raise DataError("which data? give their directory, or --source " + " or ".join(EMBEDDED))
    if not root.is_dir():
        raise DataError(f"{root}: no such directory")
    source = guess_source(root)
    if source is None:
        layouts = "; ".join(f"{name}: {layout}" for name, layout in EXPECTED.items())
        raise DataError(
            f"{root} has no known layout ({layouts}; folder: one folder a class; parquet: "
            "*.parquet; torchvision's: --source torchvision --set data.dataset=NAME): "
            "give the directory above or below, or --source to hear what is missing"
        )
    return source


def _config(source: str, options: argparse.Namespace) -> DataConfig:
    """Returns the data configuration that a sweep would have."""
    root = str(options.root.absolute()) if options.root else ""
    # COCO alone is looked at as the proxy of the paper's ImageNet
    of = "imagenet" if source == COCO else source
    values = {f"data.{n}": v for n, v in PAPER_SIZES.get(of, {}).items()}  # type: ignore[call-overload]
    values |= {"data.source": of, "data.root": root}
    coco = root if source == COCO else options.proxy_root and str(options.proxy_root.absolute())
    if coco:
        values.pop("data.proxy_per_class", None)  # the paper's is of each proxy class
        values |= {"data.proxy_source": "coco", "data.proxy_root": coco}
    given, faults = _given(source, options)
    if faults:
        raise ConfigError(faults)
    config = apply_overrides(TrialConfig(), values | given)
    faults = [line for name, value in given.items() if (line := unread(name, value, (config,)))]
    if faults:
        raise ConfigError(faults)
    return config.data


def _given(source: str, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Returns the fields of `--set`, and a line for each that is wrong or would not be read."""
    given: dict[str, Any] = {}
    elsewhere = {"data.root": "ROOT", "data.source": "--source"}
    faults = []
    if options.proxy_root or source == COCO:
        elsewhere |= dict.fromkeys(("data.proxy_root", "data.proxy_source"), "--proxy-root")
    if options.proxy_root and source == COCO:
        faults.append("--proxy-root is not read where ROOT is COCO's: leave it out")
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals or not name.startswith("data."):
            faults.append(f"--set {text!r} is not data.KEY=VALUE")
        elif name in elsewhere:
            faults.append(f"--set {name} is not read: {elsewhere[name]} says it; leave it out")
        elif source == COCO and name not in _READ_OF_COCO:
            faults.append(f"--set {name} is not read of COCO alone: leave it out")
        elif name in given:
            faults.append(f"{name} is set twice")
        else:
            try:
                given[name] = parse_value(name, value)
            except ConfigError as error:
                faults += error.problems
    return given, faults


def _describe_directory(source: str, config: DataConfig) -> list[str]:
    """Describes what the directory holds, as far as its names tell."""
    place = config.proxy_root if source == COCO else config.root
    lines = [f"{source if source == COCO else config.name}" + f" in {place}" * bool(place)]
    with contextlib.suppress(DataError):
        if config.source in PUBLISHED and source != COCO:
            tree = open_tree(config.source, Path(config.root))
            flat = "" if tree.labelled is None else " (flat, labelled by places365_val.txt)"
            lines.append(f"classes: {len(tree.train)} to train, {len(tree.test)} to test{flat}")
            roles = Counter(paper_split(config.source).values())
            lines.append("the paper's: " + ", ".join(f"{n} {role}" for role, n in roles.items()))
        elif source == "folder" or source in LABELLED:
            names = known_classes(config)
            lines.append(f"classes: {len(names)} ({', '.join(names[:_NAMED])})")
    return lines


def _load(source: str, config: DataConfig, cache: Path) -> Dataset:
    from trainables.data import load, published

    if source == COCO:
        forget = sum(role == "forget" for role in paper_split("imagenet").values())
        return published.load_draws(
            [published.coco_draw(config, forget)], config, cache, _Progress()
        )[0]
    if config.source in PUBLISHED:
        return published.load(config, cache, _Progress())
    return load(config, cache)


def _write_manifest(dataset: Dataset, path: Path) -> None:
    make_folder(path.parent)
    with replacing(path) as beside:
        pq.write_table(dataset.manifest, beside)
    sys.stdout.write(f"manifest: {path}\n")


def _describe_dataset(dataset: Dataset, source: str, config: DataConfig) -> list[str]:
    """Describes the data set: counts by role, what falls short, what is left out."""
    rows = dataset.manifest.to_pylist()
    counts = dataset.counts()
    lines = [f"{'role':<8}{'classes':>9}" + "".join(f"{split:>9}" for split in SPLITS)]
    for role in ROLES:
        classes = len({row["class"] for row in rows if row["role"] == role})
        if classes:
            numbers = "".join(f"{counts[role, split]:>9}" for split in SPLITS)
            lines.append(f"{role:<8}{classes:>9}{numbers}")
    if not any(row["role"] == "proxy" for row in rows):
        lines.append("no proxy images: give --proxy-root COCO, or set retain_source=real")
    by_class = Counter((row["class"], row["role"], row["split"]) for row in rows)
    for split in SPLITS if source != COCO else ():
        few = [
            f"{name} ({count} of {config.most(role, split)})"
            for (name, role, each), count in by_class.items()
            if each == split and name != COCO and count < config.most(role, split)
        ]
        if few:
            shown = first_few(few, _NAMED)
            lines.append(f"{len(few)} classes have fewer {split} images than asked for: {shown}")
    lines += [f"unusable, left out: {each.path}: {each.reason}" for each in dataset.refused]
    return [*lines, *(_measurable(counts) if source != COCO else ()), "usable"]


def _measurable(counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Returns a line where there are too few images to be measured, or to be measured well."""
    measured = {(r, s): counts[r, s] for s in ("val", "test") for r in ("retain", "forget")}
    (role, split), least = min(measured.items(), key=lambda each: each[1])
    splits = EvaluationConfig().is_splits
    if least < splits:
        return [
            f"too few to be measured: {least} {split} images of the {role} classes; a sweep wants "
            f"{splits}, or a lower evaluation.is_splits"
        ]
    short = {name: _TIMES * width for name, width in _WIDTHS.items() if least < _TIMES * width}
    if not short:
        return []
    wanted = ", ".join(f"{count} by {name}" for name, count in short.items())
    return [
        f"a Frechet distance wants so many {role} images a split: {wanted}; of {split} there are "
        f"{least}. With fewer it comes out too high, for every variant alike"
    ]


if __name__ == "__main__":
    sys.exit(main())
