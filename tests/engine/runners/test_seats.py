"""Which workers of a cluster are given steps, without a cluster: those that run what we run, and can run the step."""

from __future__ import annotations

from typing import Any

import pytest

from engine.runners import dask_worker
from engine.runners.dask import DaskRunner
from engine.runners.dask_cluster import Member
from engine.runners.dask_worker import Answer
from engine.runners.seats import Seat, Seats

ADDRESS = "tcp://127.0.0.1:4711"
FLOW = "shop/order@2.0.0"


@pytest.fixture
def runner() -> DaskRunner:
    """One whose cluster has one worker, which has not been asked yet."""
    found = DaskRunner("tcp://127.0.0.1:8786", sources=[])
    found._seats.know([Member(ADDRESS, None, 2, {})])
    return found


def seat_of(seats: Seats, **answer: Any) -> Seat | None:
    """The worker that an order goes to after ours has answered two beats: before the second its clock is not known for sure."""
    usual = {"clock": 1.0, "process": "p", "life": "l", "is_open": True, "problem": None, "versions": dask_worker.versions()}
    for _ in range(2):
        seats.learn({ADDRESS: Answer(**(usual | answer))})
    return seats.best({}, FLOW, 1)


def test_a_worker_that_runs_what_we_run_gets_steps(runner: DaskRunner) -> None:
    assert seat_of(runner._seats) is not None
    assert runner.standing()["said"] == ""


@pytest.mark.parametrize("name", ["Python", "distributed", "tasker-engine"])
def test_a_worker_of_another_version_gets_no_step_and_it_is_said_why(runner: DaskRunner, name: str) -> None:
    ours = dask_worker.versions()
    assert seat_of(runner._seats, versions=ours | {name: "0.0.1"}) is None
    assert runner.standing()["said"] == f"worker {ADDRESS}: it has {name} 0.0.1 instead of {ours[name]}; install the same versions there"


def test_a_worker_whose_handlers_do_not_load_gets_no_step_and_it_is_said_why(runner: DaskRunner) -> None:
    assert seat_of(runner._seats, is_open=False, problem="no handlers could be loaded: shop.py: a library is missing") is None
    assert "a library is missing" in runner.standing()["said"]


def test_a_worker_that_lacks_a_version_gets_no_step_of_it_in_this_life(runner: DaskRunner) -> None:
    seat = seat_of(runner._seats)
    assert seat is not None
    seat.lacks.add(FLOW)
    assert runner._seats.best({}, FLOW, 1) is None
    assert runner._seats.best({}, "shop/order@1.0.0", 1) is seat
    assert not runner._seats.know_handlers(FLOW)
    assert seat_of(runner._seats, life="its next") is not None
    assert runner._seats.know_handlers(FLOW)
