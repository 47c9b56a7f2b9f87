"""Drafts the changelog since the last tag from the subjects of the commits: `changelog.py REPOSITORY FILE`."""

import shutil
import subprocess
import sys
from pathlib import Path

from result import count, finish, give_up


def main(repository: Path, file: Path) -> None:
    """Write the draft into a file."""
    if shutil.which("git") is None:
        give_up("git is not installed")
    if _git(repository, "rev-parse", "--verify", "HEAD") is None:
        finish("no history to draft from", notes=[f"{repository} is not a Git repository with a commit"], file="")
    tag = (_git(repository, "describe", "--tags", "--abbrev=0") or "").strip()
    log = _git(repository, "log", "--no-merges", "--format=%h%x09%s", f"{tag}..HEAD" if tag else "HEAD") or ""
    commits = [line.split("\t", 1) for line in log.splitlines()]
    since = f"since {tag}" if tag else "since the beginning (there is no tag yet)"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_draft(commits, since), encoding="utf-8")
    notes = [] if commits else [f"there is nothing to release {since}"]
    finish(f"{count(len(commits), 'commit')} {since}", notes=notes, file=str(file), commits=len(commits))


def _git(repository: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(repository), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return answer.stdout if answer.returncode == 0 else None


def _draft(commits: list[list[str]], since: str) -> str:
    lines = [f"- {subject} ({commit})" for commit, subject in commits]
    return "\n".join(["# Unreleased", "", f"{count(len(commits), 'commit')} {since}.", "", *lines, ""])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
