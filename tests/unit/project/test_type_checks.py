"""mypy reads our `platform/`, not only the standard library's stub of that name."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

FILES = {
    "platform/__init__.py": "",
    "platform/plan.py": """
def count(text: str) -> int:
    return text  # wrong: return-value
""",
    "platform/sweep.py": """
import platform
from platform.plan import count, missing  # wrong: attr-defined

NAME: str = platform.machine()
NUMBER: int = platform.machine()  # wrong: assignment
MISSPELT = platform.mashine()  # wrong: attr-defined
""",
    "analysis/report.py": """
from platform.plan import count

TEXT: str = count("")  # wrong: assignment


def untyped(x):  # wrong: no-untyped-def
    return x
""",
    "trainables/config.py": "",
    "search_spaces/first.py": "",
    "benchmarks/rates.py": """
RATE: float = "fast"  # wrong: assignment
""",
    "scripts/tool.py": "",
    "docs/examples/model.py": "",
}


def test_planted_errors_are_found(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("pyproject.toml", "_platform_bridge.py", "platform/__init__.pyi"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert set(found) == {
        (name, str(number), line.partition("# wrong: ")[2])
        for name, text in FILES.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if "# wrong: " in line
    }, done.stdout + done.stderr
