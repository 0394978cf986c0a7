"""Write the SBOM and the checksums of a release: `python .ci/write_release.py DIRECTORY`.

The SBOM has the library and everything that an installation with all extras of users brings, in the versions that an
installer chooses today: a lower bound is what is declared, not what is installed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The extra that only acetasks' own tests need.
INTERNAL = {"test"}


def main(directory: Path) -> None:
    """Write both files beside the wheel."""
    (wheel,) = directory.glob("*.whl")
    extras = read_extras()
    version = wheel.name.split("-")[1]
    sbom = directory / f"acetasks-{version}.cdx.json"
    with tempfile.TemporaryDirectory() as environment:
        venv.create(environment, with_pip=False)
        python = str(Path(environment, "Scripts" if sys.platform == "win32" else "bin", "python"))
        requirement = f"acetasks[{','.join(extras)}] @ {wheel.resolve().as_uri()}"
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", requirement]
        subprocess.run(command, check=True)
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
        subprocess.run([*command, "-o", str(sbom), python], check=True)
    names = {component["name"].lower() for component in json.loads(sbom.read_bytes())["components"]}
    if not {"acetasks", "aiohttp", "asyncpg", "jinja2", "opentelemetry-api", "typer"} <= names:
        sys.exit(f"{sbom.name} has only {sorted(names)}")
    # The address of the wheel on this machine is of no use to anybody else.
    if wheel.resolve().as_uri() in (text := sbom.read_text("utf-8")):
        sbom.write_text(text.replace(wheel.resolve().as_uri(), wheel.name), "utf-8")
    files = sorted(path for path in directory.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (directory / "SHA256SUMS").write_text("".join(sums), "utf-8")
    print(sbom.name, "has", len(names), "components;", "SHA256SUMS has", len(sums), "files")


def read_extras() -> list[str]:
    """Return the names of the extras that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return sorted(project["optional-dependencies"].keys() - INTERNAL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
