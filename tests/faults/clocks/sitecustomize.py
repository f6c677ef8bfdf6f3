"""Gives a Python process and its children a wrong wall clock: FAULTS_SHIFT seconds off, and FAULTS_RATE times as fast. What has passed since is told rightly.

Python imports a module of this name by itself at its start when this folder is on PYTHONPATH.
"""

import datetime
import os
import time

SHIFT, RATE = float(os.environ["FAULTS_SHIFT"]), float(os.environ.get("FAULTS_RATE", "1"))
BEGAN_NS = int(os.environ["FAULTS_CLOCK_BEGAN"])
_true_ns, _RealDatetime = time.time_ns, datetime.datetime


def time_ns() -> int:
    now = _true_ns()
    return now + int(SHIFT * 1e9) + int((now - BEGAN_NS) * (RATE - 1))


class _IsReal(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _RealDatetime)


class WrongDatetime(_RealDatetime, metaclass=_IsReal):
    __slots__ = ()

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _RealDatetime.fromtimestamp(time_ns() / 1e9, tz)

    @classmethod
    def today(cls) -> datetime.datetime:
        return cls.now()


WrongDatetime.__name__ = WrongDatetime.__qualname__ = "datetime"
WrongDatetime.__module__ = "datetime"
time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
datetime.datetime = WrongDatetime  # type: ignore[misc]
