"""Who is measured, how much of it, how it is set up, and what each one keeps of a step. The only list of peers."""

from __future__ import annotations

from dataclasses import dataclass

WORKLOADS = ("W1", "W2", "W3", "W4", "W5")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of tasks by workload, and how many parts a fan has: what an engine does in some seconds, so that its start and a pause of the machine weigh little."""

    w1: int
    w2: int
    w3: int
    w4: int
    w5: int
    width: int

    def count(self, workload: str) -> int:
        """How many tasks of `workload`."""
        return {"W1": self.w1, "W2": self.w2, "W3": self.w3, "W4": self.w4, "W5": self.w5}[workload]


FASTEST = Sizes(w1=10_000, w2=5_000, w3=50, w4=10, w5=20_000, width=1_000)
FAST = Sizes(w1=2_000, w2=1_000, w3=10, w4=10, w5=20_000, width=1_000)
MIDDLE = Sizes(w1=500, w2=250, w3=1, w4=10, w5=5_000, width=1_000)
SLOW = Sizes(w1=10, w2=5, w3=1, w4=1, w5=20, width=100)
QUICK = {FASTEST: Sizes(200, 100, 20, 2, 2_000, 100), FAST: Sizes(100, 50, 10, 2, 2_000, 100), MIDDLE: Sizes(50, 25, 1, 2, 500, 100), SLOW: Sizes(2, 1, 1, 1, 10, 10)}


@dataclass(frozen=True, slots=True)
class Peer:
    """`name` is its folder. `keeps` says what is on record after a step; `graph` who knows what comes next; `lost` what a killed worker costs."""

    name: str
    title: str
    sizes: Sizes
    settings: str
    keeps: str
    history: str
    graph: str
    lost: str
    fair: str
    needs_redis: bool = False


OURS = "tasker"
PEERS = (
    Peer(
        OURS,
        "Tasker",
        FASTEST,
        "`tasker engine`, one process with its default runner `processes`; tasks submitted with `submit_many`, 500 at a time",
        "state, attempts, worker, times and result of every step",
        "every change of state of every step and task, with its time",
        "the engine: joins are counted in the database",
        "its steps run again when their lease is over; attempts are counted",
        "does the most per step of those on PostgreSQL. Results become durable in batches under load: a step's own commit is shared with others. Between two steps of a chain lies a commit, for the end of the first is durable before the second starts; a task that is submitted is a row for itself, one for each of its steps and the first of its history, where a queue writes one row",
    ),
    Peer(
        "procrastinate",
        "Procrastinate",
        FAST,
        "one `procrastinate worker --concurrency 20` for each core, jobs deferred with `batch_defer`, 500 at a time; finished jobs are kept, as by default",
        "the job's status and its number of attempts; no result",
        "an event with its time for each change of a job's status",
        "the job itself defers what comes next; joins are counted down in a table that the benchmark adds",
        "jobs stay `doing` until someone looks for stalled ones and retries them",
        "less per step: no result is stored, and the next step and the end of this one are two commits, so that a crash between them repeats the step",
    ),
    Peer(
        "dbos",
        "DBOS",
        MIDDLE,
        "a queue with its default settings and one worker process for each core, workflows enqueued 500 in a transaction; the latencies with `start_workflow` in one process, for a queue is polled once a second",
        "result, name and times of every step; input, state and result of every workflow",
        "one row for a step, written when it has ended; no row when it starts",
        "the workflow function, which is run again from its beginning and skips recorded steps",
        "its workflows are taken up again when that executor starts anew, or by its commercial conductor",
        "a library, no server: steps run inside the workflow's process, so that a hop needs no hand-over between processes. Its workflows are ordinary code with loops and branches",
    ),
    Peer(
        "pgqueuer",
        "PgQueuer",
        FAST,
        "durability `durable`, one worker with asyncpg and uvloop for each core, 50 jobs fetched at once, jobs enqueued 500 at a time",
        "a line in its log that the job ended well; the job's row is deleted; no result",
        "a line for each change of a job's status, later summed up",
        "the job itself enqueues what comes next; joins are counted down in a table that the benchmark adds",
        "jobs whose heartbeat is overdue are given to another worker",
        "less per step: no result is stored, endings are written in batches after the fact, and the next step is enqueued in a commit of its own",
    ),
    Peer(
        "celery",
        "Celery",
        MIDDLE,
        "Redis as broker and for results, append-only file with `appendfsync everysec`; `acks_late`, `reject_on_worker_lost`, prefork with one child for each core",
        "the result and state of every task in Redis, for a day by default",
        "none: the last state only",
        "chains and chords; a chord counts its parts in Redis",
        "unacknowledged tasks go to another worker after the visibility timeout, an hour by default",
        "not the same durability: what the last second wrote is lost with the machine. Without PostgreSQL there is no commit to wait for",
        needs_redis=True,
    ),
    Peer(
        "prefect",
        "Prefect",
        SLOW,
        "a server on PostgreSQL, one process that serves the flows and starts a process for each run, four at once; tasks that may run together are submitted to its thread pool; results persisted in files",
        "state and times of every task run on the server; the result in a file",
        "every state of every run",
        "the flow function, as ordinary code",
        "the flow run is marked crashed, and retried where the flow says so",
        "does more around each step: it reports to a server over HTTP, with a live page and events. It is made for steps of seconds and more",
    ),
    Peer(
        "dagster",
        "Dagster",
        SLOW,
        "runs, events and schedules on PostgreSQL; web server, daemon with its queued run coordinator, multiprocess executor, all with default settings; runs submitted over GraphQL",
        "every event of every step; results by an I/O manager in files",
        "every event of every run",
        "declared as a graph",
        "the run is marked failed by run monitoring, and retried where configured",
        "does more around each step: a process of its own for each step, which isolates it. It is made for steps of seconds and more, and for data with lineage",
    ),
    Peer(
        "airflow",
        "Airflow",
        SLOW,
        "metadata on PostgreSQL; API server, DAG processor and scheduler with `LocalExecutor`, with default settings but no example DAGs, 100 active runs of a DAG and a parallelism of 4 for each core (the default of 32 lets calls time out on two); runs triggered over its REST API",
        "state, times and tries of every task instance; result as XCom",
        "the last state of each try; an audit log",
        "declared as a graph",
        "the scheduler finds the lost heartbeat and retries where the task says so",
        "does more around each step: a process for each task that talks to an API server. It is made for steps of seconds and more",
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}
