"""What the engines run while they are maltreated. Each attempt notes its start and its end in a ledger that knows nothing of the product.

A line is on the disk before the handler goes on, so that it outlives whatever comes next.
"""

import ctypes
import os
import signal
import time
import zlib

from engine import EventSubscriber, PermanentError, RetryableError, Workflow

LEDGER = os.environ["FAULTS_LEDGER"]
ENGINE = os.environ.get("FAULTS_ENGINE", "-")
WALL_NS = int(os.environ["FAULTS_CLOCK"])
"""What the true wall clock is ahead of the monotonic one: the engine's own may be wrong on purpose."""
FAILING_PERCENT = 5
LIMIT = 20
QUICK = {"base": 0.05, "cap": 0.2}


def note(kind, task, step):
    now = time.monotonic_ns()
    facts = (kind, task.task_id, step.name, step.attempt, ENGINE, os.getpid(), now, now + WALL_NS)
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, (" ".join(map(str, facts)) + "\n").encode())
    os.fsync(ledger)
    os.close(ledger)


def work(task, step, **results):
    """Some milliseconds of work, differing by step and the same in every attempt; one in twenty fails at first."""
    note("start", task, step)
    for name, result in results.items():
        if result != f"{task.task_id} {name}":
            raise PermanentError(f"{name} handed on {result!r}")
    chance = zlib.crc32(f"{task.task_id} {step.name}".encode())
    time.sleep((5 + chance % 46) / 1000)
    note("end", task, step)
    if step.attempt == 1 and chance % 100 < FAILING_PERCENT:
        raise RetryableError("once")
    return f"{task.task_id} {step.name}"


tree = Workflow("tree", namespace="faults", version="1.0.0")


@tree.step(retry_limit=LIMIT, backoff=QUICK)
def root(task, step):
    return work(task, step)


@tree.step(depends_on_step="root", retry_limit=LIMIT, backoff=QUICK)
def left(task, step, root):
    return work(task, step, root=root)


@tree.step(depends_on_step="root", retry_limit=LIMIT, backoff=QUICK)
def right(task, step, root):
    return work(task, step, root=root)


@tree.step(depends_on_step="left", retry_limit=LIMIT, backoff=QUICK)
def lower_left(task, step, left):
    return work(task, step, left=left)


@tree.step(depends_on_step="right", retry_limit=LIMIT, backoff=QUICK)
def lower_right(task, step, right):
    return work(task, step, right=right)


@tree.step(depends_on_step=["lower_left", "lower_right"], retry_limit=LIMIT, backoff=QUICK)
def join(task, step, lower_left, lower_right):
    return work(task, step, lower_left=lower_left, lower_right=lower_right)


@tree.step(depends_on_step="join", retry_limit=LIMIT, backoff=QUICK)
def last(task, step, join):
    return work(task, step, join=join)


# ---- who listens


class Listener(EventSubscriber):
    """Notes every event it is told of, in the order in which it is."""

    subscribe_to = ["step.completed", "task.completed", "task.failed"]
    from_start = True

    def handle_event(self, event):
        heard = os.open(f"{LEDGER}.heard", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(heard, f"{event['event_id']} {event['type']} {event['task_id']} {time.monotonic_ns() + WALL_NS}\n".encode())
        os.close(heard)


# ---- steps that harm the process they run in

poison = Workflow("poison", namespace="faults", version="1.0.0")


def loop_for_ever():
    while True:
        pass


def hold_the_interpreter():
    import re

    re.match("(a+)+$", "a" * 60 + "b")


def sleep_in_c():
    """With the interpreter's lock: no other thread of the process runs meanwhile."""
    ctypes.PyDLL(None).sleep(60)


class Recursive:
    def __repr__(self):
        return repr(self)


def overflow_the_stack():
    import sys

    sys.setrecursionlimit(1 << 30)
    repr(Recursive())  # by way of C, whose stack has an end


def eat_memory():
    import resource

    with open("/proc/self/statm") as sizes:
        limit = int(sizes.read().split()[0]) * resource.getpagesize() + (128 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    hoard = []
    try:
        while True:
            hoard.append(bytearray(32 << 20))
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when the machine has no more


HARM = {
    "exit": lambda: os._exit(1),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "recursion": overflow_the_stack,
    "memory": eat_memory,
    "loop": loop_for_ever,
    "interpreter": hold_the_interpreter,
    "sleep in C": sleep_in_c,
}


def harm(task, step):
    note("start", task, step)
    HARM[task.context["by"]]()


def never(task, step):
    note("start", task, step)


poison.step(retry_limit=2, backoff=QUICK)(harm)
poison.step(depends_on_step="harm")(never)

blocking = Workflow("blocking", namespace="faults", version="1.0.0")
blocking.step(retry_limit=2, backoff=QUICK, timeout=2000)(harm)
blocking.step(depends_on_step="harm")(never)


greedy = Workflow("greedy", namespace="faults", version="1.0.0")


@greedy.step(retry_limit=2, backoff=QUICK)
def hoard(task, step):
    """Until the kernel ends it, where there is a limit to what the engine's processes may have together."""
    note("start", task, step)
    hoarded = []
    while len(hoarded) < 64:
        hoarded.append(bytearray(b"x") * (32 << 20))
    note("end", task, step)


# ---- wide and slow ones

fan = Workflow("fan", namespace="faults", version="1.0.0")


def quick(task, step):
    note("start", task, step)
    note("end", task, step)
    return f"{task.task_id} {step.name}"


BRANCHES = [f"branch_{number}" for number in range(20)]
for branch in BRANCHES:
    fan.step(name=branch, retry_limit=LIMIT, backoff=QUICK)(quick)
fan.step(name="joined", depends_on_step=BRANCHES, retry_limit=LIMIT, backoff=QUICK)(quick)

wide = Workflow("wide", namespace="faults", version="1.0.0")
THOUSAND = [f"branch_{number}" for number in range(1000)]
for branch in THOUSAND:
    wide.step(name=branch, retry_limit=LIMIT, backoff=QUICK)(quick)
wide.step(name="joined", depends_on_step=THOUSAND, retry_limit=LIMIT, backoff=QUICK)(quick)

ladder = Workflow("ladder", namespace="faults", version="1.0.0")
RUNGS = 200
ladder.step(name="rung_0", retry_limit=LIMIT, backoff=QUICK)(quick)
for rung in range(1, RUNGS + 1):
    for side in ("left", "right"):
        ladder.step(name=f"{side}_{rung}", depends_on_step=f"rung_{rung - 1}", retry_limit=LIMIT, backoff=QUICK)(quick)
    ladder.step(name=f"rung_{rung}", depends_on_step=[f"left_{rung}", f"right_{rung}"], retry_limit=LIMIT, backoff=QUICK)(quick)

slow = Workflow("slow", namespace="faults", version="1.0.0")


@slow.step(retry_limit=LIMIT, backoff=QUICK, timeout=120_000)
def wait(task, step):
    note("start", task, step)
    seconds = task.context.get("seconds", 1)
    time.sleep(seconds if step.attempt == 1 else task.context.get("again", seconds))
    note("end", task, step)
    return f"{task.task_id} {step.name}"


hopeless = Workflow("hopeless", namespace="faults", version="1.0.0")


@hopeless.step(retry_limit=3, backoff={"base": 0.01, "cap": 0.02})
def fail(task, step):
    note("start", task, step)
    note("end", task, step)
    raise RetryableError("always")
