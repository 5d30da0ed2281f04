"""`python -m analysis.samples NAME`: the variants side by side on the same test images."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis import cli
from platform.storage.sweep_folder import RecordError
from platform.storage.variants import Row
from trainables.evaluation.figures import compose_grid, save_figure

ImageKey = tuple[str, int]  # role and number of a test image
Pictures = Mapping[tuple[str, ImageKey], NDArray[np.uint8]]
_SHARED = {"input": "Input", "truth": "Truth", "original": "Original"}
_PIXELS_AN_INCH = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    text = "The completions of every variant side by side, forget and retain."
    return cli.run("analysis.samples", text, write_pictures, argv, offers_best=True)


def write_pictures(analysis: cli.Analysis) -> list[Path]:
    """Writes `MODEL_samples.png` and `.pdf` for each model.

    Raises:
        RecordError: no trial has finished, samples are missing or damaged, or not of the same
            images.
    """
    written: list[Path] = []
    for model, variants in analysis.by_model().items():
        shown = analysis.shown(variants)
        columns, rows = _columns(analysis, shown)
        picture = compose_grid(
            columns,
            rows,
            title=f"{model}: completions of the same test images",
            subtitle=f"sweep {analysis.sweep.name}, {analysis.chosen}",
            stacked=True,
        )
        stem = f"{model}_samples_best" if analysis.best else f"{model}_samples"
        png, pdf = analysis.out / f"{stem}.png", analysis.out / f"{stem}.pdf"
        described = PngInfo()
        described.add_text("Description", analysis.source.line)
        picture.save(png, pnginfo=described)
        _save_pdf(picture, pdf, analysis.source.line)
        written += [png, pdf]
    return written


def _columns(
    analysis: cli.Analysis, shown: Sequence[cli.Shown]
) -> tuple[dict[str, NDArray[np.uint8]], list[str]]:
    """Returns heading to images, and the role of each row: forget first, then retain."""
    trials = [(variant, _pictures(analysis, row)) for variant, row in shown]
    first = trials[0][1]
    images = sorted({image for _, image in first})
    for variant, pictures in trials:
        same = all(
            np.array_equal(first[kind, image], pictures.get((kind, image), np.empty(0)))
            for kind in ("input", "truth")
            for image in images
        )
        if not same:
            raise RecordError(f"the samples of {variant.label} are not of the same images")
    columns = {
        heading: np.stack([first[kind, image] for image in images])
        for kind, heading in _SHARED.items()
    }
    for variant, pictures in trials:
        if not variant.is_original:
            columns[variant.label] = np.stack([pictures["unlearned", image] for image in images])
    return columns, [role for role, _ in images]


def _pictures(analysis: cli.Analysis, row: Row) -> Pictures:
    table = analysis.sweep.trial_table(row, "samples.parquet")
    return {
        (kind, (role, index)): np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        for role, index, kind, png in zip(
            *(table[name].to_pylist() for name in ("role", "index", "kind", "png")), strict=True
        )
    }


def _save_pdf(picture: Image.Image, path: Path, about: str) -> None:
    """Writes a picture without loss: Pillow's own PDF would store its pixels as JPEG."""
    width, height = picture.size
    figure = Figure(figsize=(width / _PIXELS_AN_INCH, height / _PIXELS_AN_INCH))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(picture, interpolation="none")
    save_figure(figure, [path], about)


if __name__ == "__main__":
    sys.exit(main())
