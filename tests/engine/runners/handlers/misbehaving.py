"""Steps that do what a runner must survive; loaded by the tests of the runners and by their child processes."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.handlers import Sequence, Step, Task, Workflow

misbehaving = Workflow("misbehaving", namespace="tests")
step = misbehaving.step


@step
def nothing(task: Task) -> None:
    """The least a step can do."""


@step
def pid(task: Task) -> int:
    return os.getpid()


@step
def environment(task: Task) -> list[str]:
    return [name for name in task.context["names"] if name in os.environ]


@step
def sleep(task: Task) -> int:
    time.sleep(task.context["seconds"])
    return os.getpid()


@step
def echo(task: Task) -> Any:
    return task.context["value"]


@step
def raises(task: Task) -> None:
    raise ValueError("as it should")


@step
def exits(task: Task) -> None:
    sys.exit(3)


@step
def vanishes(task: Task) -> None:
    os._exit(7)


@step
def segfaults(task: Task) -> None:
    ctypes.string_at(0)


@step
def kills_itself(task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@step(timeout=200)
def leaves_no_trace_but_time(task: Task) -> None:
    time.sleep(task.context["seconds"])


@step(timeout=200)
def loops(task: Task) -> None:
    while True:
        pass


@step(timeout=200)
def holds_the_interpreter(task: Task) -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")


@step
def holds_the_interpreter_for_long(task: Task) -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")


@step(timeout=200)
def leaves_a_program_running(task: Task) -> None:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(task.context["file"]).write_text(str(program.pid))
    time.sleep(60)


@step
def stops_when_asked(task: Task, step: Step) -> str:
    Path(task.context["file"]).touch()
    while not step.cancel_requested:
        time.sleep(0.005)
    raise RuntimeError("stopped half way")


@step
def never_stops(task: Task) -> None:
    if file := task.context.get("file"):
        Path(file).write_text(str(os.getpid()))
    time.sleep(60)


@step
def forks_and_comes_back_twice(task: Task) -> str:
    return "parent" if os.fork() else "copy"


@step
def terminates_its_copy(task: Task) -> int | None:
    copy = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    copy.start()
    copy.terminate()
    copy.join(5)
    return copy.exitcode


@step
def makes_a_mess(task: Task) -> None:
    os.chdir("/")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    os.closerange(3, 256)
    print("noise " * 1000)


@step
def where(task: Task) -> str:
    time.sleep(0.15)
    return os.getcwd()


@step
def closes_every_file(task: Task) -> None:
    os.closerange(3, 65_536)


@step(depends_on_step="nothing")
def middle(task: Task) -> None:
    """Stands between `nothing` and `asks`."""


@step(depends_on_step="middle")
def asks(task: Task, sequence: Sequence) -> Any:
    return sequence.find_step_by_name("nothing").results


@step(resources={"GPU": 1})
def needs_a_gpu(task: Task) -> bool:
    return "HAS_A_GPU" in os.environ


if "HAS_A_GPU" in os.environ:  # the worker has been exchanged
    Workflow("misbehaving", namespace="tests", version="2.0.0").step(echo)


log = logging.getLogger("shop.imports")


@step
def talks(task: Task, step: Step) -> None:
    step.log("begins", pages=3)
    for page in range(1, 4):
        step.progress(page, 3, f"page {page}")
        log.info("page %d", page, extra={"page": page})
    step.log("ends", "warning")


@step
def reports_without_end(task: Task, step: Step) -> int:
    until, times = time.monotonic() + task.context["seconds"], 0
    while time.monotonic() < until:
        times += 1
        step.progress(times)
    return times


@step
def reports_and_falls_silent(task: Task, step: Step) -> None:
    step.progress(1, 10)
    step.progress(2, 10, "the last of it")
    while not step.cancel_requested:
        time.sleep(0.005)


@step
def talks_and_vanishes(task: Task, step: Step) -> None:
    step.log("calls the library")
    os._exit(7)


@step
def talks_in_a_copy(task: Task, step: Step) -> int | None:
    def work() -> None:
        step.log("from the copy")
        log.warning("from the copy")
        step.progress(1)

    copy = multiprocessing.get_context("fork").Process(target=work)
    copy.start()
    copy.join(5)
    step.log("from the step")
    return copy.exitcode


@step
def leaves_a_thread_that_talks(task: Task, step: Step) -> None:
    def talk() -> None:
        while not Path(task.context["gate"]).exists():
            time.sleep(0.002)
        step.log("too late")
        step.progress(9)
        Path(task.context["done"]).touch()

    threading.Thread(target=talk, daemon=True).start()


@step
def opens_a_gate(task: Task, step: Step) -> None:
    Path(task.context["gate"]).touch()
    while not Path(task.context["done"]).exists():
        time.sleep(0.002)


@step
def logs_in_a_signal(task: Task, step: Step) -> int:
    signal.signal(signal.SIGALRM, lambda *_: step.log("from the signal"))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(300):
        step.log(f"line {number}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return 300


@step
async def logs_by_other_means() -> None:
    import structlog

    log.warning("by logging", extra={"order": 7})
    structlog.get_logger("shop").warning("by structlog", order=8)
