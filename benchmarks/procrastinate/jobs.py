"""The job that Procrastinate's workers run: `procrastinate --app benchmarks.procrastinate.jobs.app worker`."""

from __future__ import annotations

import os

import procrastinate

from benchmarks.driving import note_start
from benchmarks.shapes import children, joined, size

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]))


@app.task(name="step")
async def step(shape: str, task: int, at: int) -> None:
    note_start()
    following = children(shape, at)
    if following == [size(shape) - 1] and joined(shape) and not await _was_last(task):
        return
    if following:
        await step.batch_defer_async(*({"shape": shape, "task": task, "at": number} for number in following))


async def _was_last(task: int) -> bool:
    row = await app.connector.execute_query_one_async("update bench_join set open = open - 1 where task = %(task)s returning open", task=task)
    return bool(row["open"] == 0)
