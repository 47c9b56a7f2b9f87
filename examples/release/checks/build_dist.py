"""Builds the wheel and the source distribution of a tree: `build_dist.py TREE`.

Without isolation, and so without the network, where what the tree needs for that is installed here; otherwise in an
environment of its own.
"""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

from result import finish, give_up

_TAIL = 30


def main(tree: Path) -> None:
    """Build both into a folder beside the tree."""
    if importlib.util.find_spec("build") is None:
        give_up("the package build is not installed: pip install build")
    target = tree.parent / "dist"
    command = [sys.executable, "-m", "build", "--outdir", str(target)]
    isolated = not _backend_is_here(tree)
    answer = subprocess.run(
        [*command, *([] if isolated else ["--no-isolation"]), str(tree)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if answer.returncode:
        finish("it could not be built", answer.stdout.rstrip().splitlines()[-_TAIL:])
    [wheel], [sdist] = target.glob("*.whl"), target.glob("*.tar.gz")
    finish(f"{wheel.name} and {sdist.name}", wheel=str(wheel), sdist=str(sdist), isolated=isolated)


def _backend_is_here(tree: Path) -> bool:
    file = tree / "pyproject.toml"
    settings = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    name = settings.get("build-system", {}).get("build-backend", "setuptools.build_meta")
    try:
        return importlib.util.find_spec(name.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
