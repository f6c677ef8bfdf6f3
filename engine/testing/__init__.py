"""For the tests of a workflow's author.

`run_step` calls one handler without a database. The pytest fixture `tasker` (a `Workbench`) runs whole tasks on a throw-away PostgreSQL,
in the test's own thread, so that a debugger stops in a handler, and with a clock that only the test moves: an hour's back-off takes no time.

    def test_a_busy_card_service_is_asked_again(tasker):
        tasker.stub("charge_card", RetryableError("busy"), {"charged": 40})
        done = tasker.run("shop/process_order", {"order_id": 7})
        assert done.state == "completed"
        assert done.steps["charge_card"].attempts == 2
"""

from __future__ import annotations

from engine.testing.one_step import run_step
from engine.testing.replays import Diverged, replay
from engine.testing.said import Said, SaidLine, SaidProgress
from engine.testing.stubs import TimedOut
from engine.testing.workbench import FinishedStep, FinishedTask, Workbench

__all__ = ["Diverged", "FinishedStep", "FinishedTask", "Said", "SaidLine", "SaidProgress", "TimedOut", "Workbench", "replay", "run_step"]
