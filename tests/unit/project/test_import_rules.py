"""Every import rule is broken once, in a small tree of the project's shape."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# From the top floor down; a room imports what is below it, and its neighbours on a floor never.
PLATFORM = ["cli", "execution", "tracking", "search", "storage", "plan"]
TRAINABLES = [
    *("shared", "shipped", "evaluation", "training", "methods"),
    *("models", "data", "metrics", "config", "utils"),
]

# Each allowed import is taken once, so that a rule that forbids too much shows up as well.
TREE = {
    "platform/__init__.py": "",
    "platform/sweep.py": "import platform.cli, search_spaces, trainables.trial",
    "platform/submit.py": "import platform.cli",
    "platform/doctor.py": "import platform.execution",
    **{
        f"platform/{room}/__init__.py": f"import platform.{below}"
        for room, below in pairwise(PLATFORM)
    },
    "platform/plan/__init__.py": "import optuna, trainables.config",
    "platform/execution/tune.py": "import ray\nfrom ray import tune",
    "platform/execution/ray_train.py": "import ray.train\nfrom trainables import trial",
    "platform/execution/cluster.py": "import ray\nray.init",
    "platform/search/importance.py": "",
    "platform/storage/variants.py": "",
    "platform/tracking/client.py": "import mlflow",
    "platform/tracking/publish.py": "",
    "trainables/__init__.py": "",
    "trainables/trial.py": "import trainables.artifacts, trainables.shared, trainables.config",
    "trainables/originals.py": "import trainables.shared",
    "trainables/artifacts.py": "import trainables.shared, trainables.metrics",
    "trainables/shared/__init__.py": "import trainables.shipped, trainables.training",
    "trainables/shipped/__init__.py": "import trainables.config, trainables.data",
    "trainables/evaluation/__init__.py": "import trainables.training, trainables.metrics",
    "trainables/evaluation/figures.py": "",
    "trainables/training/__init__.py": "import trainables.methods, trainables.models",
    "trainables/methods/__init__.py": "import trainables.methods.ours",
    "trainables/methods/ours.py": "import trainables.models.base, trainables.utils.rng",
    "trainables/models/__init__.py": "import trainables.models.base",
    "trainables/models/base.py": "import trainables.config",
    "trainables/models/mae.py": "import trainables.utils.rng",
    "trainables/data/__init__.py": "import trainables.utils",
    "trainables/metrics/__init__.py": "",
    "trainables/config/__init__.py": "import trainables.utils",
    "trainables/utils/__init__.py": "",
    "trainables/utils/rng.py": "",
    "search_spaces/__init__.py": "import optuna",
    "search_spaces/first.py": "from trainables.config import TrialConfig",
    "analysis/__init__.py": "",
    "analysis/report.py": (
        "import platform.storage.variants, platform.tracking.publish, platform.search.importance\n"
        "import trainables.evaluation.figures, trainables.utils.rng"
    ),
    "benchmarks/__init__.py": "",
    "benchmarks/first.py": "import trainables.training, trainables.shared",
}

BENCHMARKS = "The benchmarks know the science alone"
UNKNOWN = "Nothing knows the benchmarks"
SCIENCE = "The science knows no machinery"
ANALYSIS = "The analysis knows the record"
SPACES = "Search spaces know a trial's configuration, and no machinery"
LAYERS = "A trial's layers"
ROOMS = "The machine room's layers"
MACHINE = "The machine room does not know the analysis"
PLAN = "A plan is plain data"
METHODS = "Methods know models only through models.base"
TUNE = "Only platform.execution.tune imports ray.tune"
TRAIN = "Only platform.execution.ray_train imports ray.train"
RECORD = "Only platform.tracking.client imports mlflow"

VIOLATIONS = [
    ("trainables/config/__init__.py", "import ray", SCIENCE),
    ("trainables/data/__init__.py", "from optuna import trial", SCIENCE),
    ("trainables/metrics/__init__.py", "import mlflow", SCIENCE),
    ("trainables/training/__init__.py", "import platform.execution.cluster", SCIENCE),
    ("trainables/trial.py", "from search_spaces import first", SCIENCE),
    ("trainables/trial.py", "import analysis.report", SCIENCE),
    ("benchmarks/first.py", "import ray", BENCHMARKS),
    ("benchmarks/first.py", "from platform import plan", BENCHMARKS),
    ("benchmarks/__init__.py", "import search_spaces.first", BENCHMARKS),
    ("trainables/training/__init__.py", "import benchmarks.first", UNKNOWN),
    ("platform/sweep.py", "from benchmarks import first", UNKNOWN),
    (
        "platform/search/__init__.py",
        "import analysis",
        "The machine room does not know the analysis",
    ),
    ("analysis/report.py", "from platform import search", ANALYSIS),
    ("analysis/report.py", "from platform.tracking import client", ANALYSIS),
    ("analysis/report.py", "import platform.plan.plan", ANALYSIS),
    ("analysis/report.py", "import mlflow", ANALYSIS),
    ("analysis/__init__.py", "import trainables.trial", ANALYSIS),
    ("search_spaces/first.py", "from trainables import training", SPACES),
    ("search_spaces/first.py", "import torch", SPACES),
    ("search_spaces/__init__.py", "import platform.search", SPACES),
    *(
        (f"trainables/{room}/__init__.py", f"import trainables.{above}", LAYERS)
        for above, room in pairwise(["trial", *TRAINABLES])
    ),
    ("trainables/models/mae.py", "import trainables.data", LAYERS),
    ("trainables/helpers.py", "", LAYERS),
    *(
        (f"platform/{room}/__init__.py", f"import platform.{above}", ROOMS)
        for above, room in pairwise(["sweep", *PLATFORM])
    ),
    ("platform/helpers.py", "", ROOMS),
    *(("platform/plan/__init__.py", f"import {name}", PLAN) for name in ("ray", "torch")),
    ("platform/plan/__init__.py", "def f():\n    from mlflow import client", PLAN),
    ("trainables/methods/ours.py", "from trainables.models import mae", METHODS),
    ("trainables/methods/ours.py", "import trainables.models", METHODS),
    ("platform/execution/ray_train.py", "from ray import (\n    tune,\n)", TUNE),
    ("platform/execution/cluster.py", "def f():\n    import ray.tune.search", TUNE),
    ("platform/execution/cluster.py", "ray.train.report", TRAIN),
    ("platform/execution/tune.py", "from ray.train import torch", TRAIN),
    ("platform/sweep.py", "import mlflow.tracking", RECORD),
]


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    for name in ("pyproject.toml", "scripts/lint_imports.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((ROOT / name).read_bytes())
    return tmp_path


def lint(folder: Path) -> tuple[int, dict[str, str]]:
    """Returns the exit status and, by contract name, KEPT or BROKEN."""
    done = subprocess.run(
        [sys.executable, "scripts/lint_imports.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)", done.stdout, flags=re.MULTILINE))
    assert verdicts, done.stdout + done.stderr
    return done.returncode, verdicts


def test_allowed_imports_keep_every_contract(tree):
    status, verdicts = lint(tree)
    assert set(verdicts.values()) == {"KEPT"}, verdicts
    assert status == 0


@pytest.mark.parametrize(("path", "planted", "contract"), VIOLATIONS)
def test_planted_violation_is_found(tree, path, planted, contract):
    with (tree / path).open("a") as file:
        file.write(f"{planted}\n")
    status, verdicts = lint(tree)
    assert verdicts[contract] == "BROKEN"
    assert status == 1


def test_every_contract_is_broken_by_some_violation(tree):
    _, verdicts = lint(tree)
    assert {contract for *_, contract in VIOLATIONS} == set(verdicts)
