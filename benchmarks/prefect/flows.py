"""The flows that Prefect serves: `python -m benchmarks.prefect.flows` makes their deployments and runs what is asked of them."""

from __future__ import annotations

from prefect import flow, serve, task

from benchmarks.driving import note_start

DEPLOYMENT = "bench"
RUNS_AT_ONCE = 4


@task(persist_result=True)
def no_op(at: int) -> dict[str, int]:
    note_start()
    return {"ok": at}


@flow
def chain(width: int) -> int:
    """`width` tasks one after the other."""
    for at in range(width):
        no_op(at)
    return width


@flow
def diamond(width: int) -> int:
    """One task, `width` at the same time, one."""
    no_op(0)
    _together(width)
    no_op(width + 1)
    return width


@flow
def fan(width: int) -> int:
    """`width` tasks at the same time, then one."""
    _together(width)
    no_op(width)
    return width


def _together(width: int) -> None:
    for future in [no_op.submit(at + 1) for at in range(width)]:
        future.result()


if __name__ == "__main__":
    serve(*(one.to_deployment(DEPLOYMENT) for one in (chain, diamond, fan)), limit=RUNS_AT_ONCE)
