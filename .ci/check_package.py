"""Check the files of a release: `python .ci/check_package.py acetasks-1.0-py3-none-any.whl acetasks-1.0.tar.gz`.

Checks what is in them, installs each in a fresh environment outside the repository, and uses it there as a user would.
"""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("acetasks", "pytest_acetasks")
#: What each file has to have besides every file of the packages; names of metadata are without their folder.
IN_BOTH = {"acetasks/py.typed", "acetasks/report/page.html.j2", "pytest_acetasks/__init__.py"}
IN_WHEEL = {"METADATA", "entry_points.txt", "licenses/LICENSE"}
IN_SDIST = {
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"),
    *(".ci/run", "noxfile.py", "mkdocs.yml", "docs/usage.md", "examples/run_all.py", "tests/conftest.py"),
}
USE = """
import importlib.metadata, importlib.util, pathlib, sys
import acetasks, acetasks.sync, acetasks.testing
origin = pathlib.Path(acetasks.__file__).resolve()
assert origin.is_relative_to(pathlib.Path(sys.prefix).resolve()), origin
assert acetasks.__version__ == importlib.metadata.version("acetasks")
assert origin.with_name("py.typed").exists()
(plugin,) = [point for point in importlib.metadata.entry_points(group="pytest11") if point.name == "acetasks"]
assert importlib.util.find_spec(plugin.module), plugin

async def main():
    async with acetasks.testing.AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        return await client.run("luma", {"prompt": "a cat"})

print(acetasks.testing.run(main()))
"""


def main(paths: list[str]) -> None:
    """Check all files at once, and exit with a message at the first fault."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for lines in pool.map(check, map(Path, paths)):
            print("\n".join(lines))


def check(path: Path) -> list[str]:
    """Check a file, and return what was seen."""
    return [f"{path.name} ({path.stat().st_size / 1024:.0f} KiB)", check_names(path), *check_installed(path)]


def check_names(path: Path) -> str:
    """Check that a file has all that it has to have, and nothing that it should not."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    files = {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}
    if path.suffix == ".whl":
        names = {re.sub(r"^acetasks-[^/]+\.dist-info/", "", name) for name in zipfile.ZipFile(path).namelist()}
        missing = (IN_WHEEL | IN_BOTH | files) - names
        allowed = {"METADATA", "WHEEL", "RECORD", "entry_points.txt"}
        folders = (*(f"{package}/" for package in PACKAGES), "licenses/")
        unwanted = {name for name in names - allowed if not name.startswith(folders)}
    else:
        with tarfile.open(path) as sdist:
            names = {name.partition("/")[2] for name in sdist.getnames()}
        missing = (IN_SDIST | IN_BOTH | files) - names
        unwanted = {name for name in names if re.search(r"(^|/)(\.nox|\.venv|dist|site)/", name)}
    unwanted |= {name for name in names if name.endswith((".pyc", ".db", ".orig")) or "__pycache__" in name}
    if missing or unwanted:
        sys.exit(f"{path.name}: missing {sorted(missing)}, unwanted {sorted(unwanted)}")
    return f"  {len(names)} files"


def check_installed(path: Path) -> list[str]:
    """Install a file with the command line in a fresh environment, and use it."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        programs = Path(directory, "Scripts" if sys.platform == "win32" else "bin")
        python, acetasks = str(programs / "python"), str(programs / "acetasks")
        requirement = f"acetasks[cli] @ {path.resolve().as_uri()}"
        run(directory, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)
        run(directory, acetasks, "demo", "--help")
        commands = ((python, "-m", "pip", "check"), (python, "-I", "-c", USE), (acetasks, "--version"))
        return [f"  {run(directory, *command)}" for command in commands]


def run(directory: str, *command: str) -> str:
    """Run a command in a directory, and return its output; exit if it fails."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
