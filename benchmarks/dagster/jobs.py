"""The jobs that Dagster runs, as graphs of ops that do nothing; loaded by its web server and its daemon."""

from __future__ import annotations

import os

from dagster import Definitions, In, JobDefinition, Nothing, job, op

from benchmarks.driving import CHAIN, HOPS, MIDDLE, note_start


@op
def first() -> int:
    note_start()
    return 1


@op(ins={"after": In(Nothing)})
def later() -> int:
    note_start()
    return 1


def _chain(length: int) -> JobDefinition:
    @job(name=f"chain_{length}")
    def chain() -> None:
        last = first()
        for _ in range(length - 1):
            last = later(last)

    return chain


def _diamond(width: int) -> JobDefinition:
    @job(name=f"diamond_{width}")
    def diamond() -> None:
        begin = first()
        later([later(begin) for _ in range(width)])

    return diamond


def _fan(width: int) -> JobDefinition:
    @job(name=f"fan_{width}")
    def fan() -> None:
        later([first() for _ in range(width)])

    return fan


defs = Definitions(jobs=[_chain(1), _chain(CHAIN), _chain(HOPS), _diamond(MIDDLE), _fan(int(os.environ["BENCH_WIDTH"]))])
