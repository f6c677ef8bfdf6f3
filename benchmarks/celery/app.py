"""The application that Celery's workers run: `celery -A benchmarks.celery.app worker`."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.driving import note_start

URL = os.environ["BENCH_REDIS"]
DONE = "bench-ended"

app = Celery("bench", broker=f"{URL}/0", backend=f"{URL}/1")
# What the documentation tells those who may lose no task: acknowledge after the work, and give a lost worker's tasks back.
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    task_serializer="json",
    result_serializer="json",
    broker_connection_retry_on_startup=True,
)


@app.task(name="step")
def step(at: int) -> dict[str, int]:
    note_start()
    return {"ok": at}


@app.task(name="last")
def last(at: int) -> dict[str, int]:
    """The step that ends a task; it counts, for nothing that Celery stores says how many chains have ended."""
    note_start()
    app.backend.client.incr(DONE)
    return {"ok": at}
