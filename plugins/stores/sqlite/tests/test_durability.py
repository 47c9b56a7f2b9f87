"""What was answered outlives kill -9 of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from aats_store_sqlite import SqliteStore

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import Put

WRITES = 500


async def write_and_tell(directory: Path) -> None:
    """Write in many coroutines at once, and say of each pair of documents when it was answered."""
    store = SqliteStore(SqliteStore.Settings(), TeamInfo(state_dir=directory), RealClock())
    await store.connect()
    records = store.capabilities[0]

    async def work(number: int) -> None:
        for n in range(10**6):
            document = {"_id": f"{number}-{n}"}
            await records.write([Put("one", document), Put("two", document)])
            os.write(1, f"{number}-{n}\n".encode())

    await asyncio.gather(*map(work, range(20)))


def test_every_write_that_was_answered_is_there_after_kill_9_and_none_is_there_by_half(
    tmp_path: Path, open_store: Any
) -> None:
    process = subprocess.Popen([sys.executable, __file__, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answered = [process.stdout.readline().strip() for _ in range(WRITES)]
    process.send_signal(signal.SIGKILL)
    answered += process.stdout.read().splitlines()
    process.communicate()

    async def stored() -> tuple[set[str], set[str]]:
        async with open_store() as store:
            found = [await store.capabilities[0].find(name) for name in ("one", "two")]
        one, two = ({document["_id"] for document in documents} for documents in found)
        return one, two

    one, two = asyncio.run(stored())
    assert len(answered) >= WRITES
    assert set(answered) <= one
    assert one == two


if __name__ == "__main__":
    asyncio.run(write_and_tell(Path(sys.argv[1])))
