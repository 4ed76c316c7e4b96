"""Setting up, where something that it needs is missing."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "cksum", "dirname")  # of what the scripts use before there is a Python


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without .venv, and a PATH without Python."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def fake_python(checkout: Path, body: str) -> None:
    """A `python3` that does what `body`, a shell script, says."""
    python = checkout / "bin" / "python3"
    python.write_text(f"#!/bin/bash\n{body}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


def run(checkout: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(checkout / "scripts" / script)],
        env={"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", ["quickstart", "test", "check"])
def test_without_python_it_says_what_to_install(checkout: Path, script: str) -> None:
    done = run(checkout, script)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "apt-get install python3 python3-pip python3-venv" in done.stderr


def test_an_old_python_is_not_used(checkout: Path) -> None:
    fake_python(checkout, "exit 1  # as `sys.exit(sys.version_info < (3, 11))` ends there")
    assert "Python 3.11 or newer is needed" in run(checkout, "test").stderr
    done = run(checkout, "test", PYTHON=str(checkout / "bin" / "python3"))
    assert "is not Python 3.11 or newer" in done.stderr


def test_without_the_venv_module_and_virtualenv_it_says_what_to_install(checkout: Path) -> None:
    fake_python(
        checkout,
        f'case "$*" in *ensurepip* | *virtualenv*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac',
    )
    done = run(checkout, "quickstart")
    assert done.returncode == 1
    assert "cannot make virtual environments, and virtualenv could not be fetched" in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert "then run" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_installation_that_fails_is_tried_again_next_time(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    python = checkout / ".venv" / "bin" / "python"
    log = checkout / "log"
    python.write_text(
        f'#!/bin/bash\necho "$*" >> {log}\n'
        '[[ "$*" == *" install "* ]] && exit 1\necho Python 3.11.0'
    )
    python.chmod(0o755)
    for _ in range(2):
        done = run(checkout, "test")
        assert done.returncode == 1
        assert "the installation failed" in done.stderr
    assert log.read_text().count("pip install") == 2


def test_what_is_installed_is_not_installed_again_until_pyproject_changes(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    python = checkout / ".venv" / "bin" / "python"
    log = checkout / "log"
    python.write_text(f'#!/bin/bash\necho "$*" >> {log}\necho Python 3.11.0\n')
    python.chmod(0o755)
    for _ in range(2):
        assert run(checkout, "test").returncode == 0
    assert log.read_text().count("pip install") == 1
    assert log.read_text().count("-m pytest") == 2
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert run(checkout, "test").returncode == 0
    assert log.read_text().count("pip install") == 2
