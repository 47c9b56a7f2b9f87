"""Which runs of plans are still open: begun, but their outcome not told yet.

A run that is begun leaves a key in the state directory, under which its plan is submitted. The same command after a
crash finds the key and so the plan that it stands for; only when the outcome has been told is the key taken away.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from aats_core.cli.planfile import PlanFile
from aats_core.errors import StateError
from aats_core.message import new_id


class _OpenRun(msgspec.Struct):
    """What is kept of a run: the key of its plan, and for people the plan's file."""

    key: str
    file: str


class OpenRuns:
    """The open runs of a state directory, which has to be held by this process."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "runs"

    def find(self, plan: PlanFile) -> str | None:
        """Return the key of the open run of that plan file, unchanged and with the same inputs; None where none is."""
        try:
            return msgspec.json.decode(self._path(plan).read_bytes(), type=_OpenRun).key
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StateError(
                f"{self._path(plan)} cannot be read, so it is not known whether {plan.path} was interrupted ({error}); "
                "remove it to begin anew"
            ) from error

    def begin(self, plan: PlanFile) -> str:
        """Open a run and return its key, which is durable then."""
        run = _OpenRun(new_id(), str(plan.path.resolve()))
        path = self._path(plan)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with path.with_suffix(".part").open("wb") as file:
                file.write(msgspec.json.encode(run))
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".part").replace(path)
            _sync(self._folder)
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror}") from error
        return run.key

    def end(self, plan: PlanFile) -> None:
        """Close the run of a plan file; harmless where none is open."""
        self._path(plan).unlink(missing_ok=True)

    def _path(self, plan: PlanFile) -> Path:
        return self._folder / f"{plan.fingerprint}.json"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
