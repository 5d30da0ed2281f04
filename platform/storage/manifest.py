"""The images of a sweep: loads them before anything starts, records them, and compares them."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.parquet as pq

from platform.plan.plan import Plan
from platform.storage.sweep_folder import read_table
from trainables.config import DataConfig, to_dict
from trainables.data import Dataset, load
from trainables.utils.errors import DataError
from trainables.utils.files import replacing, write_json
from trainables.utils.hashing import content_key


def load_all(plan: Plan) -> dict[str, Dataset]:
    """Returns every data set of a plan by the `key_of` its configuration, decoded.

    Raises:
        DataError: data that is missing, unusable, or too little to be measured.
    """
    configs: dict[str, DataConfig] = {}
    most_splits = 2  # a covariance needs two images
    for trial in plan.trials:
        configs.setdefault(key_of(trial.config.data), trial.config.data)
        most_splits = max(most_splits, trial.config.evaluation.is_splits)
    datasets = {key: load(config, plan.cache) for key, config in configs.items()}
    for dataset in datasets.values():
        for split in ("val", "test"):
            for role in ("retain", "forget"):
                count = len(dataset.rows(role, split))
                if count < most_splits:
                    raise DataError(
                        f"{count} {split} images of the {role} classes are too few for an "
                        f"Inception Score of {most_splits} splits: add images, or lower "
                        f"evaluation.is_splits to at most {count}"
                    )
    return datasets


def key_of(config: DataConfig) -> str:
    """Returns a key that equal configurations share."""
    return content_key(to_dict(config))


def refuse_others(plan: Plan, datasets: Collection[Dataset]) -> None:
    """Refuses to resume a sweep on other images than those it began with.

    Raises:
        DataError: the images have changed since.
    """
    path = plan.folder / "manifest.parquet"
    if not path.is_file():  # killed before it was written: nothing has run
        write_manifests(plan, datasets)
        return
    before = set(read_table(path)["data_hash"].to_pylist())
    now = {each.fingerprint for each in datasets}
    if before != now:
        raise DataError(
            f"the images are not those that sweep {plan.name!r} began with (data hash "
            f"{', '.join(sorted(now))}, in {path} {', '.join(sorted(before))}): put them back, or "
            "take another --name"
        )


def write_manifests(plan: Plan, datasets: Collection[Dataset]) -> None:
    """Writes `manifest.parquet`, a row an image, and `refused.json`, the files left out."""
    tables = [
        each.manifest.append_column("data_hash", pa.array([each.fingerprint] * len(each.manifest)))
        for each in datasets
    ]
    path = plan.folder / "manifest.parquet"
    with replacing(path) as beside:
        pq.write_table(pa.concat_tables(tables), beside, write_page_checksum=True)
    refused = {
        each.fingerprint: {lost.path: lost.reason for lost in each.refused} for each in datasets
    }
    if any(refused.values()):
        write_json(plan.folder / "refused.json", refused)
