"""The state directory: one process at a time, the right version, and nothing left half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aats_core.errors import StateError, StateLocked, StateTooNew
from aats_core.state_dir import StateDirectory

HOLDER = """
import sys, time
from pathlib import Path
from aats_core.state_dir import StateDirectory
with StateDirectory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "a" / "b") as state:
        assert state.path.stat().st_mode & 0o777 == 0o700
        assert (state.path / "format").read_text() == "1\n"


def test_the_name_of_the_node_is_kept(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        node = state.node
    with StateDirectory(tmp_path) as state:
        assert state.node == node
    with StateDirectory(tmp_path / "other") as state:
        assert state.node != node


def test_it_is_refused_with_the_pid_of_its_holder_until_that_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            for _ in range(2):
                with pytest.raises(StateLocked, match=rf"process {holder.pid},.*aats drain.*team\.state_dir"):
                    StateDirectory(tmp_path).__enter__()
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        with StateDirectory(tmp_path):
            assert (tmp_path / "team.lock").read_text() == f"{os.getpid()}\n"


def test_it_is_free_again_after_its_block(tmp_path: Path) -> None:
    for _ in range(3):
        with StateDirectory(tmp_path), pytest.raises(StateLocked, match=str(os.getpid())):
            StateDirectory(tmp_path).__enter__()


def test_one_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("2\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StateTooNew, match=r"has format 2, this version of AATS knows 1; upgrade aats-core"):
        StateDirectory(tmp_path).__enter__()
    assert (tmp_path / "format").read_text() == "2\n"
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "team.lock"] == before
    (tmp_path / "format").write_text("1\n")
    with StateDirectory(tmp_path):
        pass  # the refusal left no lock behind


@pytest.mark.parametrize("content", [b"one\n", b"\xff\xfe", "\u00b2".encode(), b"-1", b"1.5"])
def test_what_is_no_version_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "format").write_bytes(content)
    with pytest.raises(StateError, match=r"format does not hold a version number"):
        StateDirectory(tmp_path).__enter__()


@pytest.mark.parametrize("name", ["format", "node"])
def test_a_file_that_a_crash_left_empty_is_written_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with StateDirectory(tmp_path) as state:
        assert state.node
    assert (tmp_path / name).read_text().strip()


def test_where_it_cannot_be_written_the_reason_and_the_way_out_are_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, text: str) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StateError, match=r"No space left on device; set team\.state_dir to another"):
            StateDirectory(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["team.lock"]
    with StateDirectory(tmp_path):
        pass  # the failure held nothing


def test_a_file_in_its_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.touch()
    with pytest.raises(StateError, match=f"state directory {path}: File exists"):
        StateDirectory(path).__enter__()
