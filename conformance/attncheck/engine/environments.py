"""Environments of targets: what a package requires beside the torch and the suite that run already."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

import attncheck
import attnref
from attncheck.model.cell import Package

_SECONDS = 600.0


class InstallError(RuntimeError):
    """What a package requires could not be installed."""


def default_cache() -> Path:
    """Where environments are kept if nothing else is said."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "attncheck" / "environments"


def shared_paths() -> tuple[str, ...]:
    """Folders from which a target's environment takes torch, the suite and what they need."""
    sites = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    homes = (Path(module.__file__ or "").parents[1] for module in (torch, attnref, attncheck))
    return tuple(dict.fromkeys([*map(str, homes), *sites]))


@dataclass
class Environments:
    """One environment for each set of requirements, made when it is first asked for.

    `folder` is where preludes are named from.
    """

    cache: Path
    folder: Path
    _locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def python(self, package: Package) -> str:
        """The interpreter for a package. Raises InstallError if it cannot be made."""
        if not package.requirements and package.prelude is None:
            return sys.executable
        prelude = (self.folder / package.prelude).read_text(encoding="utf-8") if package.prelude else ""
        key = _key(package, prelude)
        home = self.cache / key
        with self._locks[key], _alone(self.cache, key):
            # The mark is made last: an environment whose making was cut off is made again.
            if not (home / "complete").exists():
                self._make(home, package, prelude)
        return str(home / "bin" / "python")

    def _make(self, home: Path, package: Package, prelude: str) -> None:
        shutil.rmtree(home, ignore_errors=True)
        _do([sys.executable, "-m", "venv", "--without-pip", str(home)])
        site = next(home.glob("lib/python*/site-packages"))
        (site / "attncheck_shared.pth").write_text("\n".join(shared_paths()) + "\n", encoding="utf-8")
        if package.requirements:
            self._install(home, package)
        if prelude:
            (site / "sitecustomize.py").write_text(prelude, encoding="utf-8")
        (home / "complete").write_text(json.dumps(package.requirements), encoding="utf-8")

    def _install(self, home: Path, package: Package) -> None:
        # With its dependencies too, a package gets the torch that is here, or none.
        limits = home / "constraints.txt"
        limits.write_text(f"torch=={torch.__version__}\n", encoding="utf-8")
        python = str(home / "bin" / "python")
        extra = ["-c", str(limits)] if package.dependencies else ["--no-deps"]
        if shutil.which("uv"):
            start = ["uv", "pip", "install", "--python", python]
        else:
            start = [
                sys.executable,
                "-m",
                "pip",
                "--python",
                python,
                "install",
                "--disable-pip-version-check",
            ]
        _do([*start, "--quiet", *extra, *package.requirements])


def _key(package: Package, prelude: str) -> str:
    facts = [
        platform.python_version(), torch.__version__, sorted(package.requirements), package.dependencies,
        prelude, shared_paths(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


@contextlib.contextmanager
def _alone(cache: Path, key: str) -> Iterator[None]:
    """Keep a second matrix from making the same environment at the same time."""
    import fcntl

    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _do(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-3:]
        raise InstallError(" ".join(last) or f"exit {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"not installed after {_SECONDS:.0f} s") from None
