"""The DAGs that Airflow's processor reads: tasks that do nothing, in the measured shapes."""

from __future__ import annotations

import os

from airflow.sdk import DAG, chain, task

from benchmarks.driving import CHAIN, HOPS, MIDDLE, note_start


@task
def no_op() -> dict[str, int]:
    note_start()
    return {"ok": 1}


def _dag(name: str) -> DAG:
    return DAG(name, schedule=None, catchup=False, is_paused_upon_creation=False, max_active_runs=100)


def _chain(length: int) -> DAG:
    with _dag(f"chain_{length}") as dag:
        steps = [no_op.override(task_id=f"step_{at}")() for at in range(length)]
        if length > 1:
            chain(*steps)
    return dag


def _joined(name: str, width: int, *, first: bool) -> DAG:
    with _dag(name) as dag:
        parts = [no_op.override(task_id=f"part_{at}")() for at in range(width)]
        parts >> no_op.override(task_id="join")()
        if first:
            no_op.override(task_id="first")() >> parts
    return dag


single, five, twenty = _chain(1), _chain(CHAIN), _chain(HOPS)
diamond = _joined(f"diamond_{MIDDLE}", MIDDLE, first=True)
WIDTH = int(os.environ["BENCH_WIDTH"])
fan = _joined(f"fan_{WIDTH}", WIDTH, first=False)
