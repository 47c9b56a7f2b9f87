"""Looks for what is too large: `check_sizes.py TREE WHEEL LARGEST-WHEEL-MB LARGEST-FILE-MB`."""

import sys
import zipfile
from pathlib import Path

from result import count, finish
from source_files import read_list

_MEGABYTE = 1_000_000
_SHOWN = 3


def main(tree: Path, wheel: Path, wheel_limit: float, file_limit: float) -> None:
    """Compare the wheel and every file of the tree with their limits."""
    sizes = {path.relative_to(tree): path.stat().st_size for path in read_list(tree)}
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    size = wheel.stat().st_size
    problems = [
        f"{path}: {_mb(size)} is more than {file_limit:g} MB; leave it out, or keep it outside of the repository"
        for path, size in sizes.items()
        if size > file_limit * _MEGABYTE
    ]
    if size > wheel_limit * _MEGABYTE:
        problems.append(f"{wheel.name}: {_mb(size)} is more than {wheel_limit:g} MB; see what it should not hold")
    largest = sorted(sizes, key=lambda path: -sizes[path])[:_SHOWN]
    finish(
        f"wheel {_mb(size)} ({_mb(unpacked)} installed), {count(len(sizes), 'file')} of {_mb(sum(sizes.values()))}",
        problems,
        [f"among the largest: {path}, {_mb(sizes[path])}" for path in largest],
        wheel_bytes=size,
    )


def _mb(size: int) -> str:
    return f"{size / _MEGABYTE:.2f} MB"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
