"""What is quick to import: planning uses most of the utilities, and must not wait for torch."""

import subprocess
import sys
from pathlib import Path

from trainables import utils

_NEEDS_TORCH = {"distributed", "rng"}


def test_only_sums_over_processes_and_random_draws_import_torch() -> None:
    (folder,) = utils.__path__
    names = sorted({path.stem for path in Path(folder).glob("*.py")} - {"__init__"})
    assert set(names) > _NEEDS_TORCH
    others = [f"trainables.utils.{name}" for name in names if name not in _NEEDS_TORCH]
    program = f"import sys, {', '.join(others)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
