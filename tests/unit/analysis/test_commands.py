"""The analyses, each on a small recorded sweep, and what they say of one that is not there."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis import ablation, report, samples, tables, tsne
from platform.storage.results import COLUMNS, write_results
from platform.storage.sweep_folder import RecordError, read_sweep
from platform.storage.variants import failures, label, metric_labels, variants
from tests.helpers.earlier import as_recorded_before
from tests.helpers.recorded import plan_of, planned_trials, record_sweep

ALL = (report, tables, tsne, samples, ablation)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    plan = plan_of(tmp_path_factory.mktemp("runs"))
    record_sweep(plan)
    return plan


@pytest.fixture
def storage(recorded, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(recorded.storage, tmp_path / "runs")
    return tmp_path / "runs"


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def run(module, storage, *options):
    return module.main(["quickstart", "--storage", str(storage), *options])


def test_a_sweep_recorded_by_the_version_before_is_analysed(storage, tmp_path):
    def written(name):
        return {
            path.name: path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.suffix in (".csv", ".md", ".tex")
        }

    for name in ("new", "old"):
        for module in (tables, report):
            assert run(module, storage, "--out", str(tmp_path / name)) == 0
        if name == "new":
            as_recorded_before(storage / "quickstart")
    assert written("new")
    assert written("old") == written("new")


def test_results_hold_a_row_a_trial(recorded):
    sweep = read_sweep(recorded.storage, "quickstart")
    assert sweep.name == "quickstart"
    rows = {row["name"]: row for row in sweep.rows()}
    assert list(rows) == [trial.name for trial in recorded.trials]
    assert {"retain/fid", "val/forget/clip", "val/objective", "fid_extractor"} <= set(
        sweep.results.column_names
    )
    ours = rows["ours-s1"]
    assert (ours["state"], ours["forget_alpha"], ours["lr"]) == ("finished", 0.1, 3e-3)
    assert (ours["duration_s"], ours["test_task"], ours["seed"]) == (3.5, "centre_0.5", 0)
    failed = rows["noisy_label"]
    assert (failed["state"], failed["failure"]) == ("failed", "non-finite")
    assert failed["retain/fid"] is None
    assert rows["ours_proxy"]["retain_source"] == "proxy"


def test_results_of_no_trial_still_have_their_columns(tmp_path):
    table = pq.read_table(write_results(tmp_path, []))
    assert table.column_names == list(COLUMNS)
    assert table.num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]


def test_tables_writes_the_papers_csv_files(recorded, tmp_path, capsys):
    assert run(tables, recorded.storage, "--out", str(tmp_path)) == 0
    fid = read_csv(tmp_path / "fid_is_eval_inpaint.csv")
    assert ",".join(fid[0]) == (
        "CKPT+Config,FID retain,mean IS retain,std IS retain,"
        "FID forget,mean IS forget,std IS forget"
    )
    assert fid[1] == ["original/centre_0.5", "17.0", "2.5", "0.125", "15.0", "2.5", "0.125"]
    finished = [trial.name for trial in recorded.trials if trial.name != "noisy_label"]
    assert [row[0] for row in fid[1:]] == [f"{name}/centre_0.5" for name in finished]
    clip = read_csv(tmp_path / "clip_cosine_inpaint.csv")
    assert clip[0] == ["CKPT+Config", "CLIP retain", "CLIP forget"]
    assert clip[1] == ["original/centre_0.5", "0.9", "0.9"]
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert all(path.is_file() for path in written)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}


def test_tables_of_outpainting_have_their_own_files(tmp_path):
    trials = planned_trials(test_task="outpaint")
    plan = plan_of(tmp_path / "runs", trials[:2])
    record_sweep(plan)
    assert run(tables, plan.storage, "--out", str(tmp_path / "out")) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"fid_is_eval_outpaint.csv", "clip_cosine_outpaint.csv"} <= names
    assert "fid_is_eval_inpaint.csv" not in names
    rows = read_csv(tmp_path / "out" / "fid_is_eval_outpaint.csv")
    assert rows[1][0] == "original/outpaint_0.25"


def test_markdown_table_shows_default_and_best_feasible(recorded, tmp_path):
    run(tables, recorded.storage, "--out", str(tmp_path))
    text = (tmp_path / "table.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:9]]
    assert rows[0][4:7] == [
        "retain FD (photos CNN) ↓",
        "retain IS (photos CNN) ↑",
        "retain cosine (photos CNN) ↑",
    ]
    shown = [row[:3] for row in rows[2:]]
    assert ["Original", "reference", "–"] in shown
    assert ["Max Loss", "none of 2 is feasible", "–"] in shown
    assert ["Noisy Label", "default: non-finite", "–"] in shown
    assert ["Ours", "best feasible: ours-s1", "0.1"] in shown
    assert "1 of 8 trials did not finish (non-finite 1)." in text


def test_latex_table_is_escaped(recorded, tmp_path):
    run(tables, recorded.storage, "--out", str(tmp_path))
    lines = (tmp_path / "table.tex").read_text().splitlines()
    body = [line for line in lines if not line.startswith("%")]
    assert r"forget\_alpha" in "\n".join(body)
    assert "_" not in "\n".join(body).replace(r"\_", "")
    columns = body[0].removeprefix(r"\begin{tabular}{").removesuffix("}")
    rows = [line for line in body if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {len(columns) - 1}


@pytest.mark.parametrize("best", [False, True])
def test_tsne_writes_a_panel_a_variant(recorded, tmp_path, best):
    options = ["--best"] if best else []
    assert run(tsne, recorded.storage, "--out", str(tmp_path), *options) == 0
    stem = "mae_tiny_tsne_best" if best else "mae_tiny_tsne"
    panels = 2 if best else 4  # the original and Ours; and Max Loss and Ours with proxy
    assert (tmp_path / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert size_of(tmp_path / f"{stem}.png") == (int(3.2 * panels * 120), int(4.2 * 120))


def test_samples_show_the_variants_on_the_same_images(recorded, tmp_path):
    assert run(samples, recorded.storage, "--out", str(tmp_path)) == 0
    picture = Image.open(tmp_path / "mae_tiny_samples.png")
    columns = 6  # input, truth, original, Max Loss, Ours, Ours with proxy
    assert picture.width == 2 * 16 + columns * 102 - 6
    assert (tmp_path / "mae_tiny_samples.pdf").read_bytes().startswith(b"%PDF")
    pixels = np.asarray(picture)
    table = pq.read_table(recorded.folder / "trials" / "ours" / "samples.parquet").to_pylist()
    assert {row["kind"] for row in table} == {"input", "truth", "original", "unlearned"}
    for row in table:
        tile = np.asarray(Image.open(io.BytesIO(row["png"])))
        tile = tile.repeat(12, 0).repeat(12, 1)
        starts = np.argwhere((pixels == tile[0, 0]).all(-1))
        assert any(np.array_equal(pixels[y : y + 96, x : x + 96], tile) for y, x in starts)


def test_samples_of_other_images_are_refused(storage, capsys):
    path = storage / "quickstart" / "trials" / "ours" / "samples.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(4), path)
    assert run(samples, storage) == 2
    assert "the samples of Ours are not of the same images" in capsys.readouterr().err


def test_ablation_has_a_row_for_each_finished_trial(recorded, tmp_path):
    assert run(ablation, recorded.storage, "--out", str(tmp_path)) == 0
    rows = read_csv(tmp_path / "ablation.csv")
    assert rows[0] == [*ablation.TRIAL_COLUMNS, *ablation.METRICS]
    points = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    ours = [point for point in points if point["group"] == "ours"]
    assert [float(point["forget_alpha"]) for point in ours] == [0.1, 0.25, 0.8]
    assert [float(point["retain/fid"]) for point in ours] == pytest.approx([18.36, 20.4, 27.88])
    assert {point["group"] for point in points} == {"max_loss", "ours", "ours_proxy"}
    assert size_of(tmp_path / "mae_tiny_ablation.png") == (1260, 600)
    assert (tmp_path / "mae_tiny_ablation.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_each_runs_as_a_program(module, storage):
    command = [sys.executable, "-m", module.__name__, "quickstart", "--storage", str(storage)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written = [Path(line) for line in done.stdout.splitlines()]
    assert written
    assert all(path.parent == storage / "quickstart" / "analysis" for path in written)
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_no_such_sweep_is_one_line_that_lists_close_names(module, recorded, capsys):
    assert module.main(["quickstrat", "--storage", str(recorded.storage)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no sweep 'quickstrat'" in error
    assert "close: quickstart" in error


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_a_sweep_without_finished_trials_is_one_line(module, tmp_path, capsys):
    plan = plan_of(tmp_path, planned_trials()[2:3])  # the one that fails
    record_sweep(plan)
    assert module.main(["quickstart", "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no finished trial" in error


def test_empty_storage_and_unfinished_sweep_are_told_apart(tmp_path, storage):
    with pytest.raises(RecordError, match="holds no sweeps; --storage"):
        read_sweep(tmp_path / "nowhere", "quickstart")
    (storage / "quickstart" / "results.parquet").unlink()
    with pytest.raises(RecordError, match=r"has no results yet: .* --resume"):
        read_sweep(storage, "quickstart")


@pytest.mark.parametrize("name", ["results.parquet", "plan.json", "environment.json"])
@pytest.mark.parametrize("keep", [0, 20, -9], ids=["empty", "start", "all but its end"])
def test_a_truncated_file_is_named(storage, capsys, name, keep):
    path = storage / "quickstart" / name
    path.write_bytes(path.read_bytes()[:keep])
    assert run(tables, storage) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert "damaged" in error


def test_a_foreign_table_is_refused(storage):
    shutil.copy(
        storage / "quickstart" / "trials" / "ours" / "embeddings.parquet",
        storage / "quickstart" / "results.parquet",
    )
    with pytest.raises(RecordError, match="is no table of results: it lacks clip_model"):
        read_sweep(storage, "quickstart")


def test_a_missing_and_a_truncated_trial_file_are_named(storage, capsys):
    path = storage / "quickstart" / "trials" / "ours" / "embeddings.parquet"
    path.write_bytes(path.read_bytes()[:50])
    assert run(tsne, storage) == 2
    assert f"{path} is damaged" in capsys.readouterr().err
    path.unlink()
    assert run(tsne, storage) == 2
    assert f"trial ours left no embeddings.parquet: {path} is missing" in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(tmp_path, capsys):
    assert tables.main(["none", "--storage", str(tmp_path), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_the_program_is_status_1(recorded, capsys, monkeypatch):
    monkeypatch.setattr(tables, "markdown", lambda *_: 1 / 0)
    assert run(tables, recorded.storage) == 1
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: division by zero (--debug shows where)\n"
    )


@pytest.mark.parametrize("arguments", [[], ["quickstart", "--nonsense"]])
def test_wrong_arguments_are_status_2(arguments, capsys):
    assert tables.main(arguments) == 2
    assert "usage: python -m analysis.tables" in capsys.readouterr().err


def test_best_is_the_highest_objective_among_the_feasible():
    def row(name, objective, violation, state="finished", kind="search"):
        values = {"val/objective": objective, "val/violation": violation}
        known = {"name": name, "group": "ours", "model": "mae_tiny", "method": "ours"}
        return {**known, "state": state, "kind": kind, "failure": None, **values}

    rows = [
        row("default", 1.0, -0.1, kind="default"),
        row("wild", 9.0, 0.01),
        row("good", 2.0, 0.0),
        row("modest", 1.5, -0.5),
        row("lost", None, None, state="failed"),
    ]
    (ours,) = variants(rows)
    assert ours.default["name"] == "default"
    assert ours.best["name"] == "good"
    assert len(ours.finished) == 4
    assert failures(rows) == "1 of 5 trials did not finish (failed 1)."
    assert variants(rows[1:2])[0].best is None


def test_variants_follow_the_plans_order_and_are_named_for_people():
    rows = [
        {"group": group, "model": "m", "method": "ours", "state": "failed", "kind": "default"}
        for group in ("mage_tiny/ours_proxy", "ours", "mine_own")
    ]
    ordered = variants(rows, order=["ours", "absent"])
    assert [variant.label for variant in ordered] == ["Ours", "Ours, proxy", "mine own"]
    assert label("random_encoder") == "Random Encoder"


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (("photos CNN",) * 3, ["FD (photos CNN)", "IS (photos CNN)", "cosine (photos CNN)"]),
        (("Inception-v3", "Inception-v3", "ViT-H-14 laion2b_s32b_b79k"), ["FID", "IS", "CLIP"]),
        (
            ("Inception-v3", "Places-365 ResNet-50", "ViT-B-32 openai"),
            ["FID", "IS (Places-365 ResNet-50)", "CLIP"],
        ),
    ],
)
def test_figures_are_named_by_the_network_that_made_them(networks, expected):
    names = ("fid_extractor", "is_extractor", "clip_model")
    row = {"state": "finished", **dict(zip(names, networks, strict=True))}
    assert list(metric_labels([row]).values()) == expected


def test_reading_a_sweep_does_not_import_mlflow_or_torch():
    code = (
        "import sys, analysis.tables, analysis.tsne, analysis.samples, analysis.ablation;"
        "import analysis.report;"
        "print({'mlflow', 'torch', 'ray', 'optuna', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
