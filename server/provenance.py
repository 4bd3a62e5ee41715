"""The origin of a result: command, commit, versions, machine."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("telos", "torch", "numpy", "mujoco", "gymnasium", "h5py")
_RESULTS = "benchmarks/results"


def provenance() -> dict[str, Any]:
    return {
        "command": shlex.join(["telos", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
    }


def git_commit() -> str:
    """Commit of this source tree, with "+changes" if files other than results differ from it.

    "unknown" outside a repository.
    """
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{_RESULTS}")
        return commit + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
