"""The application that DBOS runs: `python -m benchmarks.dbos.app` takes what is on the queue until it is stopped."""

from __future__ import annotations

import asyncio
import os
import threading

from dbos import DBOS, DBOSConfig

from benchmarks.driving import note_start

QUEUE = "bench"
NAME = "bench"
VERSION = "1"


def configured(url: str, executor: str) -> DBOS:
    """The process's DBOS, not launched yet."""
    config: DBOSConfig = {
        "name": NAME,
        "system_database_url": url,
        "application_version": VERSION,
        "executor_id": executor,
        "run_admin_server": False,
        "log_level": "WARNING",
    }
    return DBOS(config=config)


@DBOS.step()
def no_op(at: int) -> dict[str, int]:
    note_start()
    return {"ok": at}


@DBOS.step()
async def async_no_op(at: int) -> dict[str, int]:
    note_start()
    return {"ok": at}


@DBOS.workflow()
def chain(length: int) -> int:
    """Steps one after the other."""
    for at in range(length):
        no_op(at)
    return length


@DBOS.workflow()
async def diamond(width: int) -> int:
    """One step, `width` at the same time, one."""
    await async_no_op(0)
    await asyncio.gather(*(async_no_op(at + 1) for at in range(width)))
    await async_no_op(width + 1)
    return width


@DBOS.workflow()
async def fan(width: int) -> int:
    """`width` steps at the same time, then one."""
    await asyncio.gather(*(async_no_op(at) for at in range(width)))
    await async_no_op(width)
    return width


WORKFLOWS = {"chain": chain, "diamond": diamond, "fan": fan}


def main() -> None:
    configured(os.environ["BENCH_URL"], f"worker-{os.getpid()}")
    DBOS.launch()
    DBOS.register_queue(QUEUE)
    print("up", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
