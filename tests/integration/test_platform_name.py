"""`platform` is the standard library's and ours at once, in every way to have the project at hand.

A small project of the same shape and the same packaging stands in for ours: what is tested is the
bridge, and how it reaches an interpreter. `bare` is a checkout that is not installed.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = ".".join(map(str, sys.version_info[:3]))
PACKAGING = ("pyproject.toml", "LICENSE", "README.md", "conftest.py")
BRIDGE = ("_platform_bridge.py", "_platform_bridge.pth", "platform/__init__.py")
KINDS = ["bare", "editable", "wheel"]
INSTALLED = ["editable", "wheel"]

FILES = {
    "platform/sweep.py": """
        import multiprocessing, platform, sys
        import platform.plan

        def main():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                doubled = pool.apply(platform.plan.double, (21,))
            print("swept", doubled, platform.python_version(), *sys.argv[1:])

        if __name__ == "__main__":
            main()
    """,
    "platform/plan.py": """
        def double(number):
            return 2 * number
    """,
    "platform/probe.py": """
        import importlib, inspect, json, pickle, platform
        from unittest import mock

        uname = platform.uname()
        with mock.patch("platform.system", return_value="patched"):
            patched = platform.system()
        print(json.dumps({
            "module": [platform.__name__, platform.__file__, platform.__spec__.origin],
            "uname": list(uname),
            "same class": type(pickle.loads(pickle.dumps(uname))) is platform.uname_result,
            "pickled": pickle.dumps(platform.system).hex(),
            "patched": [patched, platform.system()],
            "source": len(inspect.getsource(platform)),
            "source of a function": inspect.getsource(platform.system),
            "reloaded": importlib.reload(platform) is platform and platform.system(),
        }))
    """,
    "platform/remote.py": """
        import ray

        def work():
            import platform, platform.plan
            return platform.plan.double(21), platform.python_version()

        if __name__ == "__main__":
            ray.init(include_dashboard=False, log_to_driver=False)
            print("worked", *ray.get(ray.remote(work).remote(), timeout=60))
    """,
    "trainables/__init__.py": "",
    "trainables/weights.safetensors": "",
    "trainables/data/photos.parquet": "",
    "search_spaces/__init__.py": "",
    "analysis/__init__.py": "",
    "tests/test_toy.py": """
        import platform
        from platform.plan import double

        def test_both():
            assert double(1) == 2 and platform.system()
    """,
}


@dataclasses.dataclass(frozen=True)
class House:
    """One way to have the project at hand.

    Attributes:
        python: the interpreter of an environment of its own.
        checkout: the project's folder.
        elsewhere: a folder that has nothing to do with it.
    """

    python: Path
    checkout: Path
    elsewhere: Path

    def run(self, *arguments: str, folder: Path | None = None, **variables: str):
        """Runs the interpreter, in the checkout unless told otherwise."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=folder or self.checkout,
            env=kept | variables,
            capture_output=True,
            text=True,
            check=False,
        )


def write_checkout(folder: Path) -> Path:
    for name in (*PACKAGING, *BRIDGE):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def run_ok(*command: str | Path, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pip(tmp_path_factory):
    """The pip of a fresh environment: ours may have none."""
    venv = tmp_path_factory.mktemp("pip") / "venv"
    run_ok(sys.executable, "-m", "venv", venv, folder=venv.parent)
    return [venv / "bin/python", "-m", "pip"]


@pytest.fixture(scope="module")
def houses(tmp_path_factory, pip):
    return {kind: build_house(kind, tmp_path_factory.mktemp(kind), pip) for kind in KINDS}


@pytest.fixture(params=KINDS)
def house(request, houses):
    return houses[request.param]


@pytest.fixture(params=INSTALLED)
def installed(request, houses):
    return houses[request.param]


def build_house(kind: str, base: Path, pip: list[Path | str]) -> House:
    checkout, venv, elsewhere = base / "checkout", base / "venv", base / "elsewhere"
    elsewhere.mkdir()
    write_checkout(checkout)
    run_ok(sys.executable, "-m", "venv", "--without-pip", venv, folder=base)
    python = venv / "bin/python"
    if kind != "bare":
        hook = f"import hatchling.build as b; b.build_{kind}({str(base)!r})"
        run_ok(sys.executable, "-c", hook, folder=checkout)
        flags = ["--quiet", "--no-deps", "--no-index", next(base.glob("*.whl"))]
        run_ok(*pip, "--python", python, "install", *flags, folder=base)
    # Third parties are borrowed from the environment of these tests, but none of its .pth files.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    (site / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return House(python, checkout, elsewhere)


def test_sweep_runs_at_the_root(house):
    done = house.run("-m", "platform.sweep", "one")
    assert done.stdout.split() == ["swept", "42", VERSION, "one"], done.stderr


def test_sweep_runs_from_another_folder(installed):
    done = installed.run("-m", "platform.sweep", folder=installed.elsewhere)
    assert done.stdout.split() == ["swept", "42", VERSION], done.stderr


def test_bare_checkout_from_another_folder_is_one_clear_error(houses):
    done = houses["bare"].run("-m", "platform.sweep", folder=houses["bare"].elsewhere)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "platform.sweep" in done.stderr


def test_standard_module_behaves_as_without_us(house, tmp_path):
    probe = shutil.copy(house.checkout / "platform/probe.py", tmp_path)
    plain = subprocess.run(
        [sys.executable, "-I", "-S", probe], capture_output=True, text=True, check=True
    )
    done = house.run("-m", "platform.probe")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(plain.stdout)


def test_standard_command_runs(installed):
    plain = subprocess.run(
        [sys.executable, "-I", "-S", "-m", "platform"], capture_output=True, text=True, check=True
    )
    done = installed.run("-m", "platform", folder=installed.elsewhere)
    assert done.stdout == plain.stdout, done.stderr


@pytest.mark.parametrize("flag", ["-P", "-I"])
def test_safe_path_flags(installed, flag):
    done = installed.run(flag, "-m", "platform.sweep")
    assert done.stdout.split() == ["swept", "42", VERSION], done.stderr


def test_console_script(installed):
    script = installed.python.with_name("unlearn-sweep")
    done = installed.run(str(script), "two", folder=installed.elsewhere)
    assert done.stdout.split() == ["swept", "42", VERSION, "two"], done.stderr


PYTEST_SCRIPT = (
    "import sys; sys.path[0] = sys.prefix + '/bin'; import pytest; pytest.console_main()"
)


@pytest.mark.parametrize("more", [[], ["-n", "2"]], ids=["one process", "xdist"])
@pytest.mark.parametrize(
    "command", [["-c", PYTEST_SCRIPT], ["-m", "pytest"]], ids=["pytest", "python -m pytest"]
)
def test_pytest(house, command, more):
    done = house.run(*command, "-q", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_wheel_holds_packages_data_and_bridge(houses):
    wheel = next(houses["wheel"].checkout.parent.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {name for name in (*FILES, *BRIDGE) if not name.startswith("tests/")}
    assert held == expected


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_ray_worker_finds_our_modules(houses, kind):
    house = houses[kind]
    # Nothing leads a worker to a checkout that is not installed, unless the driver's start does.
    variables = {"PYTHONPATH": str(house.checkout)} if kind == "bare" else {}
    variables |= {"RAY_ADDRESS": "local"}
    done = house.run("-m", "platform.remote", folder=house.elsewhere, **variables)
    assert done.stdout.split()[-3:] == ["worked", "42", VERSION], done.stderr


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_job_takes_a_bare_checkout_along(houses):
    house = houses["bare"]
    script = """
        import sys, time, ray
        from ray.job_submission import JobSubmissionClient
        context = ray.init("local", num_cpus=2, include_dashboard=True, dashboard_port=0)
        client = JobSubmissionClient(f"http://{context.dashboard_url}")
        job = client.submit_job(
            entrypoint=f"{sys.executable} -m platform.remote",
            runtime_env={"working_dir": sys.argv[1]},
        )
        while not client.get_job_status(job).is_terminal():
            time.sleep(0.5)
        print(client.get_job_logs(job))
    """
    arguments = ["-c", textwrap.dedent(script), str(house.checkout)]
    done = house.run(*arguments, folder=house.elsewhere)
    assert f"worked 42 {VERSION}" in done.stdout, done.stdout + done.stderr
