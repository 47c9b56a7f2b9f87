"""Runs the tests of a tree for so many seconds: `quick_tests.py TREE SECONDS "PYTEST-ARGUMENTS"`.

Tests run, small files first, until the time is up; what was not run by then is counted and told, and fails nothing.
"""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

from result import count, finish, give_up

_FEW, _TAIL = 5, 40
_PASSED, _STOPPED, _NONE = 0, 2, 5


def main(tree: Path, seconds: str, arguments: str) -> None:
    """Run pytest in the tree."""
    if importlib.util.find_spec("pytest") is None:
        give_up("pytest is not installed: pip install pytest")
    import time_limit

    tally = tree.parent / "tests.json"
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "time_limit", *shlex.split(arguments)],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(tree.parent / "hypothesis"),
            time_limit.SECONDS: seconds,
            time_limit.TALLY: str(tally),
            "AATS_RELEASE_CHECK": "1",  # tests that run this very example know by it to leave that out
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    result = time_limit.read_tally(tally)
    if answer.returncode == _NONE:
        finish("the tree has no tests", notes=["there is nothing that pytest collects"], **result)
    ended = answer.returncode == _PASSED or (answer.returncode == _STOPPED and result["stopped"])
    notes = [f"{result['left']:,} more were not run, the {seconds} s were over"] if result["stopped"] else []
    if ended and not result["failed"]:
        finish(f"{count(result['passed'], 'test')} passed", notes=notes, **result)
    lines = answer.stdout.rstrip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))] or [
        f"pytest ended with {answer.returncode}"
    ]
    summary = f"{count(result['failed'], 'test')} failed, {result['passed']:,} passed"
    finish(summary, failed, [*notes, *lines[-_TAIL:]], **result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
