"""Steps that do what a runner must survive; loaded by the tests of the runners and by their child processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import subprocess
import sys
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
