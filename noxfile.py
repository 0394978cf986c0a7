"""Checks of the project, one nox session each.

`nox` runs the default ones and `nox -l` lists all. The tests, examples, demo and benchmarks run against the built
wheel, not against the source tree, so that files missing from the wheel are detected.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)

nox.needs_version = ">=2026.8.10"  # the first version that skips pyenv shims without an interpreter
# The coverage session is the tests on the last Python.
nox.options.sessions = [
    "lint",
    "types",
    "imports",
    *(f"tests-{python}" for python in PYTHONS[:-1]),
    "coverage",
    "examples",
    "docs",
    "package",
    "lowest",
    "plugin",
]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
# pip does this by itself. Without the bytecode, each process of the command line takes a second more to start where
# PYTHONDONTWRITEBYTECODE is set.
os.environ.setdefault("UV_COMPILE_BYTECODE", "1")
# Missing interpreters are skipped with a message, also in CI, and never downloaded.
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

# Sessions that run the library do not get the tokens of the environment, so that no check can cost money.
NO_TOKEN: dict[str, str | None] = dict.fromkeys(
    ("ACEDATACLOUD_API_TOKEN", "ACEDATACLOUD_API_BASE_URL", "USEAPI_API_TOKEN", "USEAPI_API_BASE_URL")
)

# One process for each core; a long test does not hold up those behind it.
IN_PARALLEL = ("--numprocesses=auto", "--dist=worksteal")

# A type checker finds new faults with each version, so it moves on purpose only.
PYRIGHT = "pyright@1.1.414"

# What can break with an older version of another package: requests, files, the journal, the command line.
LOWEST_TESTS = (
    *("tests/http/test_backend.py", "tests/http/test_proxy.py", "tests/downloads", "tests/polling/test_waiting.py"),
    *("tests/ledger/test_stores.py", "tests/test_client_journal.py", "tests/test_models.py"),
    *("tests/cli/test_wait.py", "tests/cli/test_main.py"),
)

# Fails unless the package is imported from the session's environment.
CHECK_ORIGIN = """
import pathlib, sys, acetasks
origin = pathlib.Path(acetasks.__file__).resolve()
print("acetasks is imported from", origin)
if not origin.is_relative_to(pathlib.Path(sys.prefix).resolve()):
    sys.exit("the tests would run against the source tree instead of the wheel")
"""


def _pyenv_bin_directories() -> list[str]:
    """Return the bin directory of the newest pyenv installation of each tested Python version.

    pyenv has a shim such as `python3.12` on PATH for every installed version, but a shim works only for activated
    versions and exits with 127 otherwise.
    """
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return []
    command = [pyenv, "root"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no user input
    found: dict[str, tuple[int, Path]] = {}
    for directory in Path(asked.stdout.strip(), "versions").glob("3.*/bin"):
        release = re.fullmatch(r"(3\.\d+)\.(\d+)", directory.parent.name)
        if release is not None:
            minor, patch = release[1], int(release[2])
            found[minor] = max(found.get(minor, (-1, directory)), (patch, directory))
    return [str(found[minor][1]) for minor in PYTHONS if minor in found]


# Appended, so that the order of the existing entries of PATH stays the same.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *_pyenv_bin_directories()])


def _install_group(session: nox.Session, group: str) -> None:
    """Install one dependency group of pyproject.toml."""
    session.install(*nox.project.dependency_groups(PYPROJECT, group))


# The wheel, once a session of this run has built it.
_built: list[Path] = []


def _build_wheel(session: nox.Session) -> Path:
    """Build the sdist, and the wheel from it, once per run of nox."""
    if not _built:
        _install_group(session, "build")
        directory = session.cache_dir.resolve() / "dist"
        # Isolated builds would install hatchling twice more; `nox -s package` has one.
        session.run_install("pyproject-build", "--no-isolation", "--outdir", str(directory), str(ROOT), silent=True)
        _built.append(max(directory.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime))
    return _built[0]


def _install_wheel(session: nox.Session, extras: str) -> None:
    """Install the wheel of this run with extras.

    Args:
        session: The session to install into, possibly with a reused environment.
        extras: Comma-separated names of the extras.
    """
    wheel = _build_wheel(session)
    session.install(f"acetasks[{extras}] @ {wheel.as_uri()}")
    # A reused environment has an earlier build of the same version, which installers would keep.
    session.install("--force-reinstall", "--no-deps", str(wheel))


def _lowest_versions() -> list[str]:
    """Return a constraint for the lowest version of each requirement of the library and its extras for users."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(line for name in extras if name != "test" for line in extras[name])]
    others = [requirement for requirement in requirements if not requirement.startswith("acetasks")]
    return [requirement.replace(">=", "==", 1) for requirement in others]


def _install_files(session: nox.Session, name: str) -> Path:
    """Build the wheel and the sdist of this run, and return their directory, with nothing else in it."""
    wheel = _build_wheel(session)
    directory = session.cache_dir.resolve() / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    sdist = wheel.with_name(f"{'-'.join(wheel.name.split('-')[:2])}.tar.gz")
    for path in (wheel, sdist):
        shutil.copy(path, directory)
    return directory


def _check_files(session: nox.Session, directory: Path) -> None:
    """Check the wheel and the sdist, each installed in an environment of its own."""
    _install_group(session, "package")
    files = sorted(map(str, directory.iterdir()))
    session.run("twine", "check", "--strict", *files, silent=True)
    session.run("python", ".ci/check_package.py", *files, env=NO_TOKEN)


def _run_tests(session: nox.Session, *command: str, **env: str) -> None:
    """Run the tests against the wheel of this run.

    Args:
        session: The session.
        command: The command that runs pytest.
        env: Additional environment variables.
    """
    _install_wheel(session, "cli,test")
    _install_group(session, "workers")
    # The safe path keeps the working directory, and so the source tree, off sys.path.
    variables = {**NO_TOKEN, "PYTHONSAFEPATH": "1", **env}
    session.run("python", "-c", CHECK_ORIGIN, env=variables)
    session.run(*command, *session.posargs, env=variables)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    _install_group(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, the examples and the benchmarks, and a user's program with a second checker."""
    _install_group(session, "types")
    _install_group(session, "workers")
    _install_wheel(session, "cli,test")  # for the dependencies; the source tree is checked
    session.run("mypy")
    if Path("benchmarks").is_dir():
        session.run("mypy", "benchmarks")
    _run_pyright(session)


def _run_pyright(session: nox.Session) -> None:
    """Check the program of a user with pyright, which runs on Node.js."""
    if shutil.which("npm") is None:
        session.warn("npm is not installed: the program of a user is not checked with pyright")
        return
    directory = session.cache_dir.resolve() / "pyright"
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(directory), PYRIGHT]
    session.run(*install, external=True)
    python = shutil.which("python", path=session.bin)
    pyright = str(directory / "node_modules" / ".bin" / "pyright")
    session.run(pyright, "--pythonpath", str(python), "tests/typing/user_program.py", external=True)


@nox.session
def imports(session: nox.Session) -> None:
    """Check the import order of the modules."""
    _install_group(session, "imports")
    session.run("lint-imports")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the wheel; `nox -s tests-3.12 -- -k poller` runs some of them."""
    _run_tests(session, "python", "-m", "pytest", *IN_PARALLEL)


@nox.session(python=PYTHONS[-1])
def coverage(session: nox.Session) -> None:
    """Run the tests with coverage of lines, by the monitoring of Python 3.12 and later, and check the minimum."""
    data = session.cache_dir.resolve() / "coverage"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    env = {"COVERAGE_FILE": str(data / ".coverage")}
    _run_tests(session, "coverage", "run", "-m", "pytest", *IN_PARALLEL, **env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example against the simulated service; those with a queue where its server runs."""
    _install_wheel(session, "cli,durable,postgres,report")
    _install_group(session, "workers")
    session.run("python", "examples/run_all.py", env=NO_TOKEN)


@nox.session(python=(PYTHONS[0], PYTHONS[-1]))
def plugin(session: nox.Session) -> None:
    """Run a sample project and some tests with the pytest plugin beside other plugins, and print a table."""
    _install_wheel(session, "durable")
    _install_group(session, "plugin")
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1"}
    session.run("python", "-c", CHECK_ORIGIN, env=env)
    session.run("python", "tests/matrix/run.py", env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site of the documentation, with every warning an error, and run or type-check all code in it."""
    _install_wheel(session, "cli,test")
    _install_group(session, "docs")
    session.run("python", "-c", CHECK_ORIGIN, env={"PYTHONSAFEPATH": "1"})
    site = session.cache_dir.resolve() / "site"
    env = {**NO_TOKEN, "NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site), env=env)
    env = {**NO_TOKEN, "ACETASKS_DOCS": "all", "PYTHONSAFEPATH": "1"}
    session.run("python", "-m", "pytest", "tests/docs", *IN_PARALLEL, *session.posargs, env=env)
    session.run("python", "tests/docs_support.py", env=env)


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the sdist, and install each in a fresh environment."""
    _check_files(session, _install_files(session, "package"))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests that use other packages, with the lowest versions that pyproject.toml declares."""
    constraints = session.cache_dir.resolve() / "lowest.txt"
    constraints.write_text("".join(f"{line}\n" for line in _lowest_versions()), "utf-8")
    wheel = _build_wheel(session)
    session.install("--constraint", str(constraints), f"acetasks[cli,test] @ {wheel.as_uri()}")
    session.install("--force-reinstall", "--no-deps", str(wheel))
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1"}
    session.run("python", "-c", CHECK_ORIGIN, env=env)
    # The lowest typer uses what the newest click deprecates.
    quiet = ("-W", "ignore:'click:DeprecationWarning")
    session.run("python", "-m", "pytest", *IN_PARALLEL, *quiet, *(session.posargs or LOWEST_TESTS), env=env)


@nox.session
def live(session: nox.Session) -> None:
    """Run the tests against the real service: `nox -s live -- --live`, with ACEDATACLOUD_API_TOKEN set."""
    _install_wheel(session, "cli,test")
    session.run("python", "-m", "pytest", "tests/live", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def release(session: nox.Session) -> None:
    """Build and check the files of a release in `dist/`, with their SBOM and checksums; publishes nothing."""
    directory = _install_files(session, "release")
    _check_files(session, directory)
    _install_group(session, "release")
    session.run("python", ".ci/write_release.py", str(directory), env=NO_TOKEN)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    shutil.copytree(directory, ROOT / "dist")


@nox.session
def conformance(session: nox.Session) -> None:
    """Run the official SDK, command lines and MCP servers against the simulated service, and print what they do."""
    _install_wheel(session, "test")
    _install_group(session, "conformance")
    apart = session.cache_dir.resolve() / "conformance"
    shutil.rmtree(apart, ignore_errors=True)
    for requirement in nox.project.dependency_groups(PYPROJECT, "conformance-apart"):
        target = apart / requirement.partition("==")[0]
        session.install("--no-deps", "--target", str(target), requirement)
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1", "CONFORMANCE_APART": str(apart)}
    session.run("python", "-c", CHECK_ORIGIN, env=env)
    session.run("python", "-m", "pytest", "tests/conformance", *IN_PARALLEL, *session.posargs, env=env)


@nox.session
def browser(session: nox.Session) -> None:
    """Open report pages in Chromium, which has to be installed: hostile texts, speed, accessibility, use."""
    _install_wheel(session, "test")
    _install_group(session, "browser")
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1"}
    session.run("python", "-c", CHECK_ORIGIN, env=env)
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs, env=env)


@nox.session(name="report-picture")
def report_picture(session: nox.Session) -> None:
    """Draw docs/pictures/report.png anew, in Chromium."""
    _install_wheel(session, "test")
    _install_group(session, "browser")
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "tests/browser/picture.py", env=env)


@nox.session
def faults(session: nox.Session) -> None:
    """Print the tables of docs/reliability.md."""
    _install_wheel(session, "cli,test")
    session.run("python", "tests/faults/fault_table.py", env=NO_TOKEN)
    session.run("python", "tests/faults/ending_table.py", env=NO_TOKEN)


@nox.session(name="board-picture")
def board_picture(session: nox.Session) -> None:
    """Draw docs/pictures/board.svg anew, from the demo's tasks on the virtual clock."""
    _install_wheel(session, "cli,test")
    session.run("python", "tests/board_picture.py", env=NO_TOKEN)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Pass a million malformed responses to all functions that read them; `nox -s fuzz -- --seed 7` repeats a run."""
    _install_wheel(session, "cli,test")
    # The fuzzer is a package in tests; the safe path keeps the source tree off sys.path.
    env = {**NO_TOKEN, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-c", CHECK_ORIGIN, env=env)
    session.run("python", "-m", "fuzz", *session.posargs, env=env)


@nox.session
def soak(session: nox.Session) -> None:
    """Await 10,000 tasks in real time with transient faults in 5 % of the responses."""
    _install_wheel(session, "cli,test")
    session.run("python", "tests/soak/soak.py", *session.posargs, env=NO_TOKEN)


@nox.session
def kills(session: nox.Session) -> None:
    """Kill a job 200 times at random moments, in four ways, and count what was lost or paid for twice."""
    _install_wheel(session, "cli,test")
    # The last one is stopped for longer than its submissions are waited for, while another process goes on.
    ways: tuple[list[str], ...] = (
        ["--naive", "--kills", "20"],
        [],
        ["--workers", "2"],
        ["--patience", "0.3"],
        ["--workers", "2", "--freeze", "45", "--kills", "20", "--tasks", "400"],
    )
    for options in [session.posargs] if session.posargs else ways:
        session.run("python", "tests/kills/kill_runs.py", *options, env=NO_TOKEN)


@nox.session
def workers(session: nox.Session) -> None:
    """Kill, stop and cut off the workers of examples/workers, and count; `-- --engine taskiq` for one run."""
    _install_wheel(session, "cli,test")
    _install_group(session, "workers")
    ways: tuple[list[str], ...] = (
        ["--naive", "--tasks", "400", "--kills", "20"],
        ["--workers", "2"],
        ["--workers", "4"],
        ["--freeze", "--tasks", "200", "--kills", "6"],
        ["--cut", "--tasks", "600", "--kills", "30"],
        ["--restart", "--tasks", "400", "--kills", "20"],
        ["--engine", "taskiq", "--naive", "--tasks", "400", "--kills", "10"],
        ["--engine", "taskiq", "--workers", "2", "--kills", "30"],
        ["--engine", "taskiq", "--workers", "4", "--kills", "30"],
        ["--engine", "taskiq", "--freeze", "--tasks", "200", "--kills", "6"],
    )
    for options in [session.posargs] if session.posargs else ways:
        session.run("python", "tests/workers/kill_workers.py", *options, env=NO_TOKEN)
    if not session.posargs:
        session.run("python", "tests/workers/measure_workers.py", env=NO_TOKEN)


@nox.session
def recipes(session: nox.Session) -> None:
    """Kill the workers of docs/workers-other-engines.md, and count; `-- --engine dbos` for one run."""
    _install_wheel(session, "cli,test")
    _install_group(session, "workers")
    _install_group(session, "recipes")
    size = ["--tasks", "500", "--kills", "25"]
    ways: tuple[list[str], ...] = (
        ["--engine", "procrastinate", "--naive"],
        ["--engine", "procrastinate"],
        ["--engine", "dbos", "--naive"],
        # Its jobs wait for the worker's restart, or for `take_over`.
        ["--engine", "dbos", "--latest", "60"],
        ["--engine", "dbos_take_over", "--latest", "60"],
    )
    for options in [session.posargs] if session.posargs else [[*way, *size] for way in ways]:
        session.run("python", "tests/workers/kill_workers.py", *options, env=NO_TOKEN)
    if not session.posargs:
        engines = ("procrastinate", "dbos")
        session.run("python", "tests/workers/measure_workers.py", "--engines", *engines, env=NO_TOKEN)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo of the command line against the simulated service."""
    _install_wheel(session, "cli")
    session.run("acetasks", "demo", env=NO_TOKEN)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; `-- --full` for all of them, or other options of benchmarks/run.py."""
    _install_wheel(session, "cli,test")
    # The official SDK for comparison; if it cannot be installed, its results are marked as missing.
    session.install(*nox.project.dependency_groups(PYPROJECT, "bench"), success_codes=[0, 1])
    session.run("python", "benchmarks/run.py", *(session.posargs or ["--quick"]), env=NO_TOKEN)


@nox.session
def million(session: nox.Session) -> None:
    """Simulate a million tasks over ten workers; `nox -s million -- --tasks 20000` for fewer."""
    _install_wheel(session, "cli,test")
    session.run("python", "benchmarks/million.py", *session.posargs, env=NO_TOKEN)
