from __future__ import annotations

import asyncio

from aats_broker_kafka.deadlines import Deadlines


def test_an_item_expires_unless_discarded_or_renewed() -> None:
    async def main() -> None:
        expired: list[str] = []
        everyone = asyncio.Event()

        def expire(item: str) -> None:
            expired.append(item)
            if len(expired) == 2:
                everyone.set()

        deadlines = Deadlines(0.2, expire)
        for item in ("renewed", "discarded", "kept"):
            deadlines.add(item)
        await asyncio.sleep(0.05)
        deadlines.renew("renewed")
        deadlines.renew("never added")
        assert deadlines.discard("discarded")
        assert not deadlines.discard("discarded")
        async with asyncio.timeout(10):
            await everyone.wait()
        assert expired == ["kept", "renewed"]

    asyncio.run(main())
