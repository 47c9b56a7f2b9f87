"""Readers see what was written before they were asked."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from aats_core.errors import InvalidQuery
from aats_core.store import RecordStore


def test_a_reader_that_failed_does_not_stay_at_what_it_saw(open_store: Any) -> None:
    async def run() -> None:
        async with open_store(readers=1) as store:
            records = next(part for part in store.capabilities if isinstance(part, RecordStore))
            await records.insert("things", *({"_id": n, "a": [1, 2], "b": [1, 2]} for n in range(5)))
            with pytest.raises(InvalidQuery, match="arrays at a and b") as kept:
                await records.find("things", sort={"a": 1, "b": 1})
            await records.delete("things", {})
            assert await records.find("things") == [], f"it looks at the state of {kept!r}"

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
