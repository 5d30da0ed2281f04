"""The tables of a small recorded sweep: the paper's CSV files, Markdown and LaTeX."""

from pathlib import Path

from analysis import tables
from tests.helpers.analyses import read_csv, run
from tests.helpers.recorded import plan_of, planned_trials, record_sweep


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
