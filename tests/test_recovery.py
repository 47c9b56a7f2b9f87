"""Killed with -9 again and again, a run goes on where it was: every task is done, and every effect happened once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

TASKS, KILLS = 500, 20
MOST_EFFECTS = 12
"""Between two kills, and a moment's more: so few that the work does not end before the last kill."""

TEAM = """
[agents.probe]
replicas = 4
"""


class Command:
    """Runs `aats run` on one plan, as a user would, and can be killed."""

    def __init__(self, directory: Path, site: Path) -> None:
        self._arguments = [str(Path(sys.executable).with_name("aats")), "run", "team.toml", "--plan", "plan.json"]
        self._directory = directory
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._arguments,
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill_while_it_works(self, effects: int, seconds: float, ledger: Path) -> bool:
        """Start, wait for so many effects and then a moment; returns whether it was still there to be killed."""
        process = self.start()
        enough = _lines(ledger) + effects
        while process.poll() is None and _lines(ledger) < enough:
            time.sleep(0.005)
        time.sleep(seconds)
        alive = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if alive else None
        process.communicate()
        return alive

    def finish(self) -> tuple[int, str]:
        process = self.start()
        output, _ = process.communicate(timeout=100)
        return process.returncode, output


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def _plan(ledger: Path, randomness: random.Random) -> dict[str, Any]:
    tasks = {}
    for number in range(TASKS):
        earlier = [f"t{n}" for n in range(max(0, number - 40), number)]
        needs = randomness.sample(earlier, min(len(earlier), randomness.randint(0, 2)))
        payload = {"path": str(ledger), "pause": randomness.uniform(0.0, 0.04)}
        tasks[f"t{number}"] = {"kind": "probe.append", "payload": payload, "needs": needs}
    return {"name": "killed", "tasks": tasks}


@pytest.mark.timeout(240)
def test_a_run_that_is_killed_twenty_times_does_every_task_and_every_effect_once(tmp_path: Path, probe: Any) -> None:
    seed = int(os.environ.get("AATS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    print(f"seed: AATS_TEST_SEED={seed}")
    randomness, ledger = random.Random(seed), tmp_path / "ledger"
    (tmp_path / "team.toml").write_text(TEAM)
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(_plan(ledger, randomness)))
    command = Command(tmp_path, probe.path)

    kills = sum(
        command.kill_while_it_works(randomness.randint(1, MOST_EFFECTS), randomness.uniform(0.0, 0.03), ledger)
        for _ in range(KILLS)
    )
    code, output = command.finish()

    assert code == 0, f"seed {seed}: {output[-2000:]}"
    assert kills == KILLS, f"seed {seed}: the run was over after {kills} kills"
    effects = Counter(ledger.read_text().split())
    assert len(effects) == TASKS, f"seed {seed}"
    assert set(effects.values()) == {1}, f"seed {seed}: {effects.most_common(5)}"
    runs = [line.split() for line in (tmp_path / "ledger.runs").read_text().splitlines()]
    attempts = Counter(name for name, _ in runs)
    most = TASKS + KILLS * 4  # each kill meets at most as many running tasks as there are replicas
    assert sum(attempts.values()) <= most, f"seed {seed}: tasks ran again that had ended"
    assert len(runs) == len({(name, attempt) for name, attempt in runs}), f"seed {seed}: an attempt ran twice"
