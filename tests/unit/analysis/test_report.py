"""The report of a recorded sweep: its page, figures, tables, and where each says it comes from."""

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis import report
from analysis.comparisons import find_comparisons
from analysis.importance import importance_table
from analysis.main_tables import main_table
from analysis.pareto import front_table
from analysis.selection import choices
from platform.storage.sweep_folder import read_sweep
from platform.storage.variants import variants
from tests.helpers.recorded import plan_of, record_sweep
from tests.helpers.recorded_large import LATER, RETRAINED_FORGET, record_large
from tests.helpers.rows import CRITERION

SECTIONS = (
    *("verdict", "plan", "comparison", "front", "choice", "alpha", "axes", "importance", "tsne"),
    *("samples", "failures", "environment", "paper"),
)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page's elements; fails where one is not closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def run(storage, name="large", *options):
    return report.main([name, "--storage", str(storage), *options])


def paper(folder, *lines, header="model,variant,metric,value"):
    path = folder / "paper.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A sweep of some seeds, a search and further tasks, and its report."""
    plan = record_large(tmp_path_factory.mktemp("runs"), 90)
    assert run(plan.storage) == 0
    return plan


@pytest.fixture(scope="module")
def out(recorded):
    return recorded.folder / "analysis"


@pytest.fixture(scope="module")
def page(out):
    return Page((out / "report.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A storage with a sweep that left no pictures, and was searched too little for importances."""
    storage = tmp_path_factory.mktemp("small")
    record_large(storage, 44, files=False)
    return storage


@pytest.fixture(scope="module")
def other(small, tmp_path_factory):
    """The report of such a sweep on a folder of images, with published numbers."""
    folder = tmp_path_factory.mktemp("other") / "large"
    shutil.copytree(small / "large", folder)
    table = pq.read_table(folder / "results.parquet")
    texts = [text.replace('"photos"', '"folder"') for text in table["config"].to_pylist()]
    changed = table.set_column(table.column_names.index("config"), "config", [texts])
    pq.write_table(changed, folder / "results.parquet")
    (folder / "trials" / "ours").mkdir(parents=True)
    (folder / "trials" / "ours" / "reused.json").write_text('{"from": "x/trials/ours"}')
    given = paper(folder, "mae_tiny,ours,forget/fid,45.5", "mae_tiny,original,retain/fid,8")
    assert run(folder.parent, "large", "--paper", str(given)) == 0
    return folder / "analysis"


# --- The page --------------------------------------------------------------------------------


def test_the_sections_stand_in_their_order(page):
    assert [attrs["id"] for attrs in page.all("section")] == list(SECTIONS)
    links = [attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("#")]
    assert links == [f"#{name}" for name in SECTIONS]


def test_the_page_needs_nothing_from_outside(page, out):
    text = (out / "report.html").read_text("utf-8")
    assert not re.findall(r"https?://", text)
    assert not page.all("script")
    assert not page.all("link")
    assert all(attrs["src"].startswith("data:image/") for attrs in page.all("img"))
    assert len(page.all("img")) >= 8
    files = {attrs["href"] for attrs in page.all("a")} - {f"#{name}" for name in SECTIONS}
    assert all((out / name).is_file() for name in files)
    assert len(text) < 8_000_000


def test_the_page_can_be_read_without_eyes(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(attrs["alt"]) > 20 for attrs in page.all("img"))
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_what_comes_from_files_is_escaped(page, out):
    assert "Which variant forgets & harms <least>?" in page.text
    assert "<least>" not in (out / "report.html").read_text("utf-8")


def test_the_page_says_what_its_figures_support(page):
    for said in (
        "chosen on validation images and measured on test images",
        "support no claim about classes in general",
        "intervals are over seeds",
        "By the other criterion",
        "x = log 2 = 0.693, y = 0",
        "90 in all, 87 finished, 1 failed, 1 pruned, 1 interrupted",
        "Sweep large, commit",
    ):
        assert said in page.text, said


def test_other_data_than_photographs_get_no_warning_about_them(other):
    text = Page((other / "report.html").read_text("utf-8")).text
    assert "Data folder, hash d0d0" in text
    assert "few photographs" not in text


# --- Tables and figures ----------------------------------------------------------------------


def test_the_main_table_has_intervals_over_seeds(out):
    table = pq.read_table(out / "mae_tiny_comparison.parquet").to_pylist()
    told = {(row["variant"], row["trial"]): row for row in table}
    ours = told["Ours", "default"]
    assert ours["seeds"] == 3
    assert ours["forget_fd_low"] < ours["forget_fd"] < ours["forget_fd_high"]
    assert ours["gap"] == pytest.approx(abs(ours["forget_fd"] - RETRAINED_FORGET), rel=0.05)
    original = told["Original", "reference"]
    assert (original["retain_fd"], original["retain_fd_low"]) == (10.0, None)


def test_further_tasks_are_curves_over_their_ratio(out):
    rows = pq.read_table(out / "mae_tiny_tasks_centre.parquet").to_pylist()
    ours = [row["value"] for row in rows if row["variant"] == "Ours"]
    assert ours == [0.25, 0.5, 0.75]  # 0.5 is the task that every trial is measured on
    assert len(rows) == 3 * 8
    assert (out / "mae_tiny_tasks_left.png").is_file()
    single = pq.read_table(out / "mae_tiny_tasks.parquet").to_pylist()
    assert {row["value"] for row in single} == {"outpaint 0.25"}


def test_fields_that_were_enumerated_are_axes(out):
    rows = pq.read_table(out / "mae_tiny_axis_retain_source.parquet").to_pylist()
    assert [(row["variant"], row["value"], row["seeds"]) for row in rows] == [
        ("Ours", "real", 3),
        ("Ours", "proxy", 3),
    ]


def test_importances_add_up_for_every_searched_variant(out):
    rows = pq.read_table(out / "mae_tiny_importance.parquet").to_pylist()
    assert {row["field"] for row in rows} == {"forget_alpha", "unlearn.lr"}
    for name in {row["variant"] for row in rows}:
        own = [row for row in rows if row["variant"] == name]
        assert sum(row["forget"] for row in own) == pytest.approx(1.0)
        assert all(row["trials"] >= 8 for row in own)
    ours = {row["field"]: row["forget"] for row in rows if row["variant"] == "Ours"}
    assert ours["forget_alpha"] > ours["unlearn.lr"]  # which it was made to depend on most


def test_each_file_says_where_it_comes_from(out):
    line = "Sweep large, commit "
    for path in out.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.text["Description"].startswith(line), path
    for path in out.glob("*.pdf"):
        assert b"/Subject (Sweep large, commit" in path.read_bytes(), path
    for path in out.glob("mae_tiny_*.parquet"):
        described = json.loads(pq.read_schema(path).metadata[b"provenance"])
        assert (described["sweep"], described["data"]) == ("large", ["d0d0"]), path
    for path in out.glob("mae_tiny_*.md"):
        assert path.read_text("utf-8").startswith(f"<!-- {line}"), path
    for path in out.glob("mae_tiny_*.tex"):
        assert f"% {line}" in path.read_text("utf-8"), path


def test_provenance_names_every_file_by_its_hash(out):
    listed = json.loads((out / "provenance.json").read_text())
    assert set(listed["files"]) == {path.name for path in out.iterdir()} - {"provenance.json"}
    for name, digest in listed["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_the_same_sweep_gives_the_same_files(small, tmp_path):
    for name in ("one", "two"):
        assert run(small, "large", "--out", str(tmp_path / name)) == 0
    one, two = (json.loads((tmp_path / n / "provenance.json").read_text()) for n in ("one", "two"))
    assert one == two


def test_latex_tables_are_of_equal_rows_and_of_ascii(out):
    for path in out.glob("mae_tiny_*.tex"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line[0] != "%"]
        columns = lines[0].removeprefix(r"\begin{tabular}{").removesuffix("}")
        rows = [line for line in lines if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(columns) - 1}, path
        assert "\n".join(lines).isascii(), path


def test_markdown_tables_are_of_equal_rows(out):
    for path in out.glob("mae_tiny_*.md"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, path
        assert set(lines[1]) <= set("|-: "), path


def test_failures_are_told_with_their_causes(out):
    rows = pq.read_table(out / "failures.parquet").to_pylist()
    assert [(row["state"], row["failure"]) for row in rows] == [
        ("failed", "non-finite"),
        ("pruned", "stopped early, behind others"),
        ("interrupted", "the sweep was stopped"),
    ]


# --- Older and poorer sweeps -----------------------------------------------------------------


def test_a_sweep_without_the_later_columns_gives_the_same_comparison(recorded, tmp_path):
    (tmp_path / "large").mkdir()
    for name in ("plan.json", "results.parquet"):
        shutil.copy(recorded.folder / name, tmp_path / "large" / name)
    path = tmp_path / "large" / "results.parquet"
    pq.write_table(pq.read_table(path).drop_columns(list(LATER)), path)
    tables = []
    for storage in (recorded.storage, tmp_path):
        sweep = read_sweep(storage, "large")
        (comparison,) = find_comparisons(sweep, variants(sweep.rows()))
        tables.append(
            [
                main_table(comparison, CRITERION).records(),
                choices(comparison, CRITERION).records(),
                front_table(comparison).records(),
                importance_table(comparison, sweep).records(),
            ]
        )
    assert tables[0] == tables[1]


def test_a_small_sweep_says_what_it_lacks(tmp_path, capsys):
    plan = plan_of(tmp_path)
    record_sweep(plan)
    (plan.folder / "trials" / "ours" / "embeddings.parquet").unlink()
    (plan.folder / "environment.json").unlink()
    assert run(tmp_path, "quickstart", "--out", str(tmp_path / "out")) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / "report.html"),
        str(tmp_path / "out" / "provenance.json"),
    ]
    page = Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    for said in (
        "No variant has 8 finished search trials.",
        "Not shown: trial ours left no embeddings.parquet",
        "No retrained reference was run",
        "No trial of Noisy Label finished.",
        "no trial finished: non-finite",
        "One common seed",
        "The sweep has no environment.json.",
        "None were given: --paper FILE",
    ):
        assert said in page.text, said


def test_trials_taken_over_from_other_sweeps_are_counted(other):
    text = Page((other / "report.html").read_text("utf-8")).text
    assert "1 of the finished taken over from other sweeps" in text


@pytest.mark.slow
def test_a_sweep_of_1000_trials_is_reported_whole(tmp_path):
    plan = record_large(tmp_path, 1000)
    assert len(read_sweep(tmp_path, "large").rows()) == 1000
    assert run(tmp_path) == 0
    out = plan.folder / "analysis"
    assert (out / "report.html").stat().st_size < 8_000_000
    counts = pq.read_table(out / "mae_tiny_hypervolume.parquet")["trials"].to_pylist()
    failures = pq.read_table(out / "failures.parquet").num_rows
    assert sum(counts) + failures + 2 == 1000  # the original and the retrained are no contenders


# --- The paper's numbers ---------------------------------------------------------------------


def test_the_papers_numbers_stand_beside_ours(other):
    ours, original = pq.read_table(other / "paper.parquet").to_pylist()
    compared = pq.read_table(other / "mae_tiny_comparison.parquet").to_pylist()
    (mine,) = [r for r in compared if (r["variant"], r["trial"]) == ("Ours", "default")]
    assert ours["default"] == mine["forget_fd"]
    assert ours["default_deviation"] == pytest.approx(mine["forget_fd"] - 45.5)
    assert ours["default_relative"] == pytest.approx(mine["forget_fd"] / 45.5 - 1)
    assert ours["chosen"] is not None
    assert (original["default_deviation"], original["chosen"]) == (2.0, None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "mae_large,ours,forget/fid,1",
            "line 2: unknown model 'mae_large'; the sweep has mae_tiny",
        ),
        (
            "mae_tiny,theirs,forget/fid,1",
            "line 2: unknown variant 'theirs'; the sweep has max_loss",
        ),
        ("mae_tiny,ours,forget/fidd,1", "line 2: unknown metric 'forget/fidd'"),
        ("mae_tiny,ours,forget/fid,much", "line 2: value 'much' is not a finite number"),
        ("mae_tiny,ours,forget/fid,nan", "line 2: value 'nan' is not a finite number"),
        ("mae_tiny,ours", "line 2: unknown metric ''"),
    ],
)
def test_unknown_names_are_refused_in_one_line(small, tmp_path, capsys, line, said):
    assert run(small, "large", "--paper", str(paper(tmp_path, line))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_a_file_without_its_columns_or_that_is_not_there_is_refused(small, tmp_path, capsys):
    given = paper(tmp_path, header="model,method,metric,value")
    assert run(small, "large", "--paper", str(given)) == 2
    assert (
        "lacks the column variant; it needs model,variant,metric,value" in capsys.readouterr().err
    )
    assert run(small, "large", "--paper", str(tmp_path / "none.csv")) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_record_to_which_nothing_is_put_is_refused(small, capsys):
    assert run(small, "large", "--tracking-uri", "http://127.0.0.1:1") == 2
    assert capsys.readouterr().err == (
        "error: --tracking-uri is read only with --publish: add that, or leave it out\n"
    )
