"""Documents that a transaction holds: what others write waits for it, and nobody waits for what was given up."""

from __future__ import annotations

import asyncio

import pytest

from aats_core.errors import Conflict, StoreUnavailable
from aats_core.message import new_id
from aats_core.store import Put
from plugins.stores.mongodb.tests.test_faults import connected
from tests.services.proxy import Fault, FaultProxy

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("forgotten_sockets"),
]


@pytest.mark.parametrize("beside", [[], ["other"]], ids=["alone", "with another"])
def test_who_waits_for_a_document_keeps_no_others_waiting(make_store, beside):
    async def scenario():
        name, ids = f"held_{new_id()}", ["x", *beside]
        async with connected(make_store(timeout=30.0)) as records:
            await records.insert(name, {"_id": "x"}, {"_id": "y"})
            async with records.transaction() as transaction:
                await transaction.update(name, {"_id": "x"}, {"$set": {"by": "the transaction"}})
                held = asyncio.create_task(records.write([Put(name, {"_id": each, "by": "one"}) for each in ids]))
                await asyncio.sleep(0.05)
                await asyncio.wait_for(records.write([Put(name, {"_id": "y", "by": "another"})]), 15)
                assert not held.done()
            await held
            found = {each["_id"]: each.get("by") for each in await records.find(name)}
            assert found == {**dict.fromkeys(ids, "one"), "y": "another"}

    asyncio.run(scenario())


def test_what_was_given_up_while_no_answer_came_holds_nothing(own_server, make_store):
    async def scenario(proxy):
        name = f"held_{new_id()}"
        begun = asyncio.Event()
        async with connected(make_store(own_server.address(proxy.port), timeout=3.0)) as records:
            await records.insert(name, {"_id": "another"})

            async def change():
                async with records.transaction() as transaction:
                    await transaction.insert(name, {"_id": "x"})
                    begun.set()
                    await asyncio.sleep(0.1)
                    await transaction.update(name, {"_id": "x"}, {"$set": {"n": 1}})

            changing = asyncio.create_task(change())
            await begun.wait()
            proxy.inject(Fault.HALF_OPEN)
            await asyncio.sleep(0.5)
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
            proxy.inject(Fault.NONE)
            proxy.reset()
            async with asyncio.timeout(30):  # the server itself ends a transaction after a minute
                while True:
                    try:
                        await records.write([Put(name, {"_id": "x"}), Put(name, {"_id": "y"})])
                    except (Conflict, StoreUnavailable):
                        await asyncio.sleep(0.1)
                    else:
                        return

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))
