"""Celery on Redis: chains and chords, its own way to say what comes after what."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.driving import Order, drive, processes


class CeleryPeer:
    package = "celery"

    def prepare(self, order: Order) -> None:
        from benchmarks.celery import app

        self.app = app
        self.redis = app.app.backend.client
        self.redis.flushall()

    def workers(self, order: Order) -> AbstractContextManager[None]:
        command = [str(Path(sys.executable).with_name("celery")), "-A", "benchmarks.celery.app", "worker"]
        options = ["--concurrency", str(order.workers), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        return processes([command + options], order, lambda: bool(self.app.app.control.ping(timeout=0.5)))

    def submit(self, order: Order, count: int) -> None:
        for _ in range(count):
            self._canvas(order.shape).apply_async()

    def _canvas(self, shape: str) -> Any:
        from celery import chain, chord

        kind, _, width = shape.partition("_")
        step, last, parts = self.app.step, self.app.last, range(int(width))
        if kind == "chain":
            return chain(*(step.si(at) for at in parts[:-1]), last.si(int(width)))
        joined = chord([step.si(at) for at in parts], last.si(int(width)))
        return chain(step.si(0), joined) if kind == "diamond" else joined

    def ended(self, order: Order) -> int:
        return int(self.redis.get(self.app.DONE) or 0)


if __name__ == "__main__":
    os.environ.setdefault("BENCH_REDIS", "redis://127.0.0.1:6379")
    drive(CeleryPeer())
