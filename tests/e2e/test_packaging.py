"""What is published: a wheel and a source archive that work on a bare Python, and say one version."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

import hestia
from tests.e2e.conftest import ROOT
from tests.e2e.served import serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

OWN: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSIONS: Final = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both, built as they are published."""
    folder = tmp_path_factory.mktemp("dist")
    ran(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


def ran(*words: str, cwd: Path | None = None) -> str:
    """What a command said, which has to succeed."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def interpreter(version: str) -> str:
    """A Python of this version; only the one that runs the tests has to be there."""
    if version == OWN:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no python{version} here")
    return found


def installed(python: str, archive: Path, folder: Path) -> Path:
    """The programs of a new environment that holds nothing but Hestia and what it needs."""
    ran(sys.executable, "-m", "virtualenv", "--quiet", "--python", python, str(folder))
    ran(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(archive))
    ran(str(folder / "bin" / "python"), "-m", "pip", "check")
    return folder / "bin"


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_wheel_wakes_a_service_on_a_bare_python(version: str, built: Path, tmp_path: Path) -> None:
    programs = installed(interpreter(version), one(built, "*.whl"), tmp_path / "venv")
    said = ran(str(programs / "hestia"), "--version")
    assert said.startswith(f"hestia {hestia.__version__} (Python {version}.")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("awake")
    command = f"{sys.executable} -m http.server {{port}} --bind 127.0.0.1 --directory {tmp_path / 'page'}"
    configuration = {"services": {"web": {"engine": {"type": "process", "command": command}}}}
    program = [str(programs / "hestia"), "serve", "--port", "0"]
    async with serving(tmp_path / "gateway", configuration, program=program) as gateway:
        assert (await gateway.get("/services/web/index.html")).text == "awake"


def test_the_source_archive_installs(built: Path, tmp_path: Path) -> None:
    programs = installed(sys.executable, one(built, "*.tar.gz"), tmp_path / "venv")
    assert ran(str(programs / "hestia"), "--version").startswith(f"hestia {hestia.__version__} ")


def test_the_archives_hold_what_runs_and_nothing_of_this_machine(built: Path) -> None:
    with zipfile.ZipFile(one(built, "*.whl")) as wheel:
        names = wheel.namelist()
    tracked = ran("git", "ls-files", "src/hestia", cwd=ROOT).splitlines()
    code = {name for name in names if name.startswith("hestia/")}
    assert code == {name.removeprefix("src/") for name in tracked}
    with tarfile.open(one(built, "*.tar.gz")) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", *tracked} <= inside
    assert not any(part in name for name in inside for part in ("__pycache__", ".venv", "benchmarks/out"))
