"""Several engines on one database: each step once, each engine only what it has."""

from __future__ import annotations

from collections import Counter

from story import Story

DIAMONDS = """
diamond = Workflow("diamond")

@diamond.step()
def top(task):
    note(task.task_id, "top")

@diamond.step(depends_on_step="top")
def left(task):
    note(task.task_id, "left")

@diamond.step(depends_on_step="top")
def right(task):
    note(task.task_id, "right")

@diamond.step(depends_on_step=["left", "right"])
def bottom(task):
    note(task.task_id, "bottom")
"""

ORDERS = """
orders = Workflow("orders")

@orders.step()
def work():
    note("orders")
"""


MANY = """
render = Workflow("render", namespace="studio")

@render.step()
def prepare():
    note("prepare")

@render.step(depends_on_step="prepare", needs="gpu")
def draw():
    note("draw")

refund = Workflow("refund", namespace="payments")

@refund.step()
def pay_back():
    note("pay_back")
"""

LIMITED = """
per_customer = Workflow("per_customer", limit={"at_once": 1, "key": "customer"})

@per_customer.step(retry_limit=2)
def begin(task):
    note(task.context["customer"], "begin", task.task_id)
    if task.context.get("hold"):
        wait_for("gate")

@per_customer.step(depends_on_step="begin")
def end(task):
    note(task.context["customer"], "end", task.task_id)
"""


LONG = """
def rest():
    time.sleep(0.05)

long = Workflow("long", namespace="flood")
for number in range(400):
    long.define(f"step_{number}", handler_class=rest, depends_on_step=[f"step_{number - 1}"] if number else [])

short = Workflow("short", namespace="other")

@short.step()
def only():
    note("short")
"""


def check_ledger(stage: Story, tasks: list[str]) -> None:
    """Every step of every diamond ran exactly once, and none before its parents."""
    visits = [(line[0], line[1]) for line in stage.ledger()]
    assert Counter(visits) == Counter((task, name) for task in tasks for name in ("top", "left", "right", "bottom"))
    place = {visit: number for number, visit in enumerate(visits)}
    for task in tasks:
        assert place[task, "top"] < min(place[task, "left"], place[task, "right"])
        assert place[task, "bottom"] > max(place[task, "left"], place[task, "right"])


def test_two_engines_run_each_step_of_many_diamonds_exactly_once(story: Story) -> None:
    story.write(DIAMONDS)
    engines = [story.start(runner="processes"), story.start(runner="threads")]
    tasks = story.launch_many("diamond", 1_000)
    assert set(story.all_ended(tasks)) == {"completed"}
    check_ledger(story, tasks)
    assert story.db.value("select count(distinct worker_id) from tasker_history where worker_id is not null") == len(engines)
    assert story.db.value("select count(*) from tasker_step where state <> 4 or attempts <> 1") == 0


def test_each_engine_runs_only_what_it_has_handlers_for(story: Story) -> None:
    story.write(DIAMONDS)
    story.write(ORDERS, folder="others")
    story.start(folder="others")
    diamonds = story.start()
    ids = [story.launch("orders"), story.launch("diamond")]
    assert story.all_ended(ids) == ["completed"] * 2
    diamonds.drained()
    ids = [story.launch("orders"), story.launch("diamond")]
    assert story.ended(ids[0])["state"] == "completed"
    assert story.step(ids[1], "top")["state"] == "ready"
    query = "select waiting_for from tasker_step_readiness(%(task)s::uuid) where step_name = 'top'"
    assert story.db.value(query, {"task": ids[1]}) == "an engine that has its handler; none is running now"
    story.start()
    assert story.ended(ids[1])["state"] == "completed"


def test_a_second_engine_with_other_content_under_a_used_version_is_refused(story: Story) -> None:
    story.write(ORDERS, folder="others")
    story.start(folder="others")
    assert story.run("orders")["state"] == "completed"
    story.write(ORDERS + "\n@orders.step()\ndef more(): ...\n")
    late = story.start(wait=False)
    assert late.process.wait(10) == 2
    assert "default/orders@" in late.said()
    assert "more" in late.said()
    assert "Traceback" not in late.said()


def test_a_version_that_one_engine_lacks_stays_for_another(story: Story) -> None:
    # A rolling deploy: the old code and the new run side by side, and each task goes on with the version it began with.
    story.write(ORDERS.replace('"orders"', '"orders", version="1.0.0"', 1).replace('note("orders")', 'note("old")'), folder="old")
    story.write(ORDERS.replace('"orders"', '"orders", version="1.1.0"', 1).replace('note("orders")', 'note("new")'), folder="new")
    old, new = story.start(folder="old"), story.start(folder="new")
    versions = ["1.0.0", "1.1.0", "1.0.0", "1.1.0", None]
    assert set(story.all_ended([story.launch("orders", version=version) for version in versions])) == {"completed"}
    who = "select array_agg(distinct h.worker_id order by h.worker_id) from tasker_history h join tasker_task t using (task_no) join tasker_definition d using (definition_id) where h.worker_id is not null and d.version = %(version)s"
    assert [story.db.value(who, {"version": version}) for version in ("1.0.0", "1.1.0")] == [[story.worker_of(engine)] for engine in (old, new)]
    new.drained()
    waiting, done = story.launch("orders", version="1.1.0"), story.launch("orders", version="1.0.0")
    assert story.ended(done)["state"] == "completed"
    assert story.step(waiting, "work")["state"] == "ready"
    old.drained()
    story.start(folder="new")
    assert story.ended(waiting)["state"] == "completed"


def test_an_engine_runs_only_what_it_is_bound_to(story: Story) -> None:
    story.write(MANY)
    payments = story.start("--only", "payments", runner="threads")
    studio = story.start("--only", "studio/render", "--labels", "eu", runner="threads")
    render, refund = story.launch("render", namespace="studio"), story.launch("refund", namespace="payments")
    assert story.ended(refund)["state"] == "completed"
    story.until_state(render, "draw", "ready")
    reason = "select waiting_for from tasker_step_readiness(%(task)s::uuid) where step_name = 'draw'"
    assert story.db.value(reason, {"task": render}) == "an engine with the label gpu; none is running now"
    gpu = story.start("--labels", "gpu,eu", runner="threads")
    assert story.ended(render)["state"] == "completed"
    by = "select worker_id from tasker_history where to_state = 4 and step_no = %(step)s and task_no = (select task_no from tasker_task where task_id = %(task)s::uuid)"
    assert story.db.value(by, {"task": refund, "step": 0}) == story.worker_of(payments)
    assert [story.db.value(by, {"task": render, "step": no}) for no in (0, 1)] == [story.worker_of(studio), story.worker_of(gpu)]
    wrong = story.start("--only", "payment", wait=False)
    assert wrong.process.wait(30) == 2
    assert "did you mean 'payments'?" in wrong.said()


def test_one_at_a_time_for_each_customer_also_when_an_engine_is_killed(story: Story) -> None:
    story.write(LIMITED)
    dying = story.start(concurrency=8)
    first = story.launch("per_customer", {"customer": "ann", "hold": True})
    story.until_state(first, "begin", "running")
    waiting = [story.launch("per_customer", {"customer": customer}) for customer in ("ann", "ann", "bob", "bob")]
    assert set(story.all_ended(waiting[2:])) == {"completed"}
    assert {story.step(task, "begin")["state"] for task in waiting[:2]} == {"ready"}
    reason = "select waiting_for from tasker_step_readiness(%(task)s::uuid) where step_name = 'begin'"
    assert story.db.value(reason, {"task": waiting[0]}) == f"a free place: 1 of 1 taken by task {first[:8]}, for customer ann"
    dying.kill()
    story.open("gate")
    story.start(concurrency=8)
    assert set(story.all_ended([first, *waiting])) == {"completed"}
    for customer in ("ann", "bob"):
        visits = [line[1:3] for line in story.ledger(customer) if line[2] != first]
        assert visits == [[act, visits[no - no % 2][1]] for no, act in enumerate(["begin", "end"] * (len(visits) // 2))], "no two of one customer at a time"


def test_long_chains_that_fill_an_engine_do_not_keep_others_from_beginning(story: Story) -> None:
    # Children go straight to the worker that unlocks them: twenty seconds of nothing else, if nobody looked for who is left standing.
    story.write(LONG)
    story.start(runner="threads", concurrency=2)
    chains = [story.launch("long", namespace="flood") for _ in range(2)]
    for chain in chains:
        story.until_state(chain, "step_0", "completed")
    shorts = [story.launch("short", namespace="other") for _ in range(3)]
    assert set(story.all_ended(shorts)) == {"completed"}
    assert {story.outcome(chain)["state"] for chain in chains} == {"running"}
    assert story.step(chains[0], "step_399")["state"] == "pending"
