"""The worker of PgQueuer: `python -m benchmarks.pgqueuer.jobs` runs until it is stopped."""

from __future__ import annotations

import json
import os

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.models import Job

from benchmarks.driving import note_start
from benchmarks.shapes import children, joined, size

POOL = 4
BATCH_SIZE = 50
"""Jobs that a worker fetches at once; the default of 10 is for slow jobs."""


def entrypoint(shape: str, at: int) -> str:
    """`last` for the step that ends a task, so that ended tasks can be counted; else `step`."""
    return "last" if at == size(shape) - 1 else "step"


async def made() -> PgQueuer:
    """A worker that knows the job, not running yet."""
    pool = await asyncpg.create_pool(os.environ["BENCH_URL"], min_size=1, max_size=POOL)
    queuer = PgQueuer.from_asyncpg_pool(pool)
    queries = Queries.from_asyncpg_pool(pool)

    async def run(job: Job) -> None:
        note_start()
        shape, task, at = json.loads(job.payload or b"")
        following = children(shape, at)
        if following == [size(shape) - 1] and joined(shape) and not await _was_last(pool, task):
            return
        if following:
            await queries.enqueue(
                [entrypoint(shape, number) for number in following],
                [json.dumps([shape, task, number]).encode() for number in following],
                [0] * len(following),
            )

    queuer.entrypoint("step")(run)
    queuer.entrypoint("last")(run)
    return queuer


async def _was_last(pool: asyncpg.Pool, task: int) -> bool:
    return bool(await pool.fetchval("update bench_join set open = open - 1 where task = $1 returning open", task) == 0)


async def main() -> None:
    queuer = await made()
    print("up", flush=True)
    await queuer.run(batch_size=BATCH_SIZE)


if __name__ == "__main__":
    uvloop.run(main())
