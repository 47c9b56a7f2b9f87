"""Copies a source tree aside, so that no check changes it and all of them see the same: `snapshot.py TREE`.

Of a Git repository everything is taken that is tracked or not ignored; of any other tree everything but hidden folders,
caches and virtual environments.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from result import count, finish, give_up
from source_files import write_list

_LEFT_OUT = {"__pycache__", "node_modules", "build", "dist", "venv", "env"}


def main(tree: Path) -> None:
    """Copy the tree into a new folder outside of it."""
    if importlib.util.find_spec("aats_core") is None:
        give_up(f"{sys.executable} is not the team's Python: activate its environment, or name it: --input python=PATH")
    if not tree.is_dir():
        give_up(f"{tree} is not a directory; name the tree with --input source=PATH")
    target = Path(tempfile.mkdtemp(prefix="aats-release-")) / (tree.resolve().name or "source")
    files = sorted(_git_files(tree) if _in_git(tree) else _plain_files(tree))
    size = 0
    for file in files:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / file, copy, follow_symlinks=False)
        size += copy.lstat().st_size
    write_list(target, files)
    python = sum(file.suffix == ".py" for file in files)
    if not python:
        give_up(f"there is no Python file in {tree.resolve()}")
    finish(
        f"{count(len(files), 'file')}, {python:,} of them Python, {size / 1e6:.1f} MB",
        path=str(target),
        source=str(tree.resolve()),
        files=len(files),
        bytes=size,
    )


def _in_git(tree: Path) -> bool:
    if shutil.which("git") is None:
        return False
    answer = subprocess.run(["git", "-C", tree, "rev-parse"], capture_output=True, check=False)
    return answer.returncode == 0


def _git_files(tree: Path) -> Iterator[Path]:
    command = ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout
    for name in set(filter(None, listed.split(b"\0"))):
        path = Path(os.fsdecode(name))
        if (tree / path).is_symlink() or (tree / path).is_file():  # not what is deleted, nor a submodule
            yield path


def _plain_files(tree: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(tree):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT and not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from ((here / name).relative_to(tree) for name in names if (here / name).is_file())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
