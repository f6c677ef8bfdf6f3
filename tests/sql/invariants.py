"""What must hold in every database at every commit, whatever happened before; the tests of random histories call it."""

from typing import Any

import psycopg

# Each query finds violations. A stale row of a queue, whose step has moved on, is no violation: the claim that meets it drops it.
RULES = {
    "a ready step stands in the queue exactly once, unless its claim is just being made": """
      select s.task_no, s.step_no from tasker_step s where s.state = 1
         and 1 <> (select count(*) from tasker_ready r where r.task_no = s.task_no and r.step_no = s.step_no)""",
    "what may still move in a paused task is marked, and parked where no claim takes it; elsewhere nothing is": """
      select s.task_no, s.step_no from tasker_step s join tasker_task t using (task_no) where s.state in (0, 1, 2, 3, 5) and s.paused <> t.paused
      union all
      select r.task_no, r.step_no from tasker_ready r join tasker_task t using (task_no) join tasker_step s using (task_no, step_no)
       where not s.gated and ((r.definition_id < 0) <> t.paused or (r.rank = 'infinity') <> t.paused)
          or s.gated and t.paused and (r.definition_id > 0 or r.rank <> 'infinity')""",
    "a gated step that is parked for good stands in a line, and every line with steps in it is known": """
      select r.task_no, r.step_no from tasker_ready r join tasker_step s using (task_no, step_no)
       where s.gated and not s.paused and s.state = 1 and r.rank = 'infinity'
         and not exists (select from tasker_waiting w join tasker_line n using (limit_id, key) where w.task_no = r.task_no and w.step_no = r.step_no)""",
    "no more steps run than a limit on them allows": """
      select l.limit_id, h.key from tasker_limit l join tasker_place h using (limit_id) join tasker_step s on s.task_no = h.task_no and s.step_no = h.step_no and s.attempts = h.attempt
       where l.step_name <> '' and l.changed_at is null and s.state = 2 group by l.limit_id, h.key having count(*) > l.at_once""",
    "a retrying step stands among the delayed exactly once": """
      select s.task_no, s.step_no from tasker_step s where s.state = 3
         and 1 <> (select count(*) from tasker_delayed d where d.task_no = s.task_no and d.step_no = s.step_no)""",
    "a pending step waits for a parent or for its time": """
      select s.task_no, s.step_no from tasker_step s where s.state = 0 and s.pending = 0
         and 1 <> (select count(*) from tasker_delayed d where d.task_no = s.task_no and d.step_no = s.step_no)""",
    "pending counts the parents that do not satisfy, until the step has ended": """
      select s.task_no, s.step_no from tasker_step s join tasker_template p using (definition_id, step_no)
       where s.state in (0, 1, 2, 3, 5)
         and s.pending <> (select count(*) from tasker_step o
                            where o.task_no = s.task_no and (o.step_no = any(p.parents) or o.map_no = s.step_no) and o.state not in (4, 7, 8))""",
    "no step runs before its parents are done": """
      select s.task_no, s.step_no from tasker_step s where s.state in (1, 2, 3, 4, 5) and s.pending > 0""",
    "remaining is the number of counted steps that have not ended": """
      select t.task_no, t.remaining from tasker_task t
       where t.remaining <> (select count(*) from tasker_step s where s.task_no = t.task_no and s.counted and s.state in (0, 1, 2, 3))""",
    "once something is lost, exactly the steps that can still move are counted": """
      with recursive blocked (task_no, step_no) as (
        select s.task_no, c.step_no from tasker_step s, unnest(s.children) as c (step_no) where s.state = 5
        union
        select s.task_no, c.step_no from blocked b join tasker_step s using (task_no, step_no), unnest(s.children) as c (step_no) where s.state = 0
      )
      select s.task_no, s.step_no from tasker_step s join tasker_task t using (task_no)
       where t.failed_count + t.cancelled_count > 0 and s.state in (0, 1, 2, 3)
         and s.counted = (s.state = 0 and (s.task_no, s.step_no) in (select b.task_no, b.step_no from blocked b))""",
    "lost steps are counted": """
      select t.task_no, t.failed_count, t.cancelled_count from tasker_task t
       where (t.failed_count, t.cancelled_count) <>
             (select count(*) filter (where s.state = 5), count(*) filter (where s.state = 6) from tasker_step s where s.task_no = t.task_no)""",
    "nothing is cancelled for its parent and goes on": """
      select s.task_no, c.step_no from tasker_step s, unnest(s.children) as c (step_no) join tasker_step o on o.step_no = c.step_no
       where o.task_no = s.task_no and s.state = 6 and o.state in (0, 1, 2, 3)""",
    "a task has ended exactly when nothing in it can progress": """
      with recursive blocked (task_no, step_no) as (
        select s.task_no, c.step_no from tasker_step s, unnest(s.children) as c (step_no) where s.state = 5
        union
        select s.task_no, c.step_no from blocked b join tasker_step s using (task_no, step_no), unnest(s.children) as c (step_no) where s.state = 0
      ),
      free as (
        select t.task_no, (select count(*) from tasker_step s where s.task_no = t.task_no and s.state in (0, 1, 2, 3)
                           and not (s.state = 0 and (s.task_no, s.step_no) in (select b.task_no, b.step_no from blocked b))) as steps from tasker_task t
      )
      select t.task_no, t.state, f.steps from tasker_task t join free f using (task_no) where (t.finished_at is null) <> (f.steps > 0)""",
    "the state of an ended task says what happened": """
      select t.task_no, t.state from tasker_task t where t.finished_at is not null
         and t.state <> case when t.cancel_requested_at is not null then 6 when t.failed_count > 0 then 5 when t.cancelled_count > 0 then 6 else 4 end""",
    "a task is pending exactly until its first step starts": """
      select t.task_no, t.state from tasker_task t where t.finished_at is null and (t.state = 0) <> (t.started_at is null)""",
    "a running step is found by its worker's claims": """
      select s.task_no, s.step_no from tasker_step s where s.state = 2 and s.worker_id <> 0
         and not exists (select from tasker_claim k, unnest(k.task_nos, k.step_nos) as held (task_no, step_no)
                          where k.worker_id = s.worker_id and held.task_no = s.task_no and held.step_no = s.step_no)""",
    "the last recorded move leads to where the step is": """
      select s.task_no, s.step_no, s.state, h.to_state from tasker_step s
       cross join lateral (select k.to_state from tasker_history k where k.task_no = s.task_no and k.step_no = s.step_no order by k.event_id desc limit 1) h
       where h.to_state <> s.state and not (s.state = 1 and h.to_state in (0, 3))""",
    "every move begins where the last one ended; only the wake-up to ready goes without record": """
      select * from (select h.task_no, h.step_no, h.event_id, h.from_state,
                            lag(h.to_state, 1, 0::smallint) over (partition by h.task_no, h.step_no order by h.event_id) as before
                       from tasker_history h where h.step_no is not null) m
       where m.before <> m.from_state and not (m.from_state = 1 and m.before in (0, 3))""",
    "every move of a task begins where the last one ended": """
      select * from (select h.task_no, h.event_id, h.from_state, lag(h.to_state, 1, 0::smallint) over (partition by h.task_no order by h.event_id) as before
                       from tasker_history h where h.step_no is null) m
       where m.before <> m.from_state""",
    "the last recorded move of a task leads to where it is": """
      select t.task_no, t.state, h.to_state from tasker_task t
       cross join lateral (select k.to_state from tasker_history k where k.task_no = t.task_no and k.step_no is null order by k.event_id desc limit 1) h
       where h.to_state <> t.state""",
    "every recorded move exists": """
      select h.task_no, h.step_no, h.from_state, h.to_state from tasker_history h
       where h.step_no is not null and h.from_state <> h.to_state and not tasker_move_exists(h.from_state, h.to_state)
         and not coalesce((h.detail ->> 'reset')::boolean and h.to_state = 0, false)
         and not coalesce((h.detail ->> 'reset')::boolean and h.to_state = 7, false)
         and not (h.from_state = 2 and h.to_state = 0 and h.reason like 'made % item%')""",
    "what a decision did not choose does not run": """
      select s.task_no, s.step_no, c.step_no from tasker_step s join tasker_template p using (definition_id, step_no),
             unnest(p.children) as child (step_no)
        join tasker_template n on n.step_no = child.step_no join tasker_step c on c.step_no = child.step_no
       where p.decision and s.state in (4, 8) and s.result is not null and n.definition_id = s.definition_id and c.task_no = s.task_no
         and not s.result ? n.name and c.state not in (6, 7, 8)""",
    "a step is passed over because it was not chosen, or all its parents were; the decision may be made anew when the step waits for a cancelled one": """
      select s.task_no, s.step_no from tasker_step s join tasker_template p using (definition_id, step_no)
       where s.passed_over
         and (s.state <> 7
              or not exists (select from tasker_step d join tasker_template o using (definition_id, step_no)
                              where d.task_no = s.task_no and d.step_no = any(p.parents) and o.decision and d.state in (4, 8) and not d.result ? p.name)
                 and exists (select from tasker_step o where o.task_no = s.task_no and o.step_no = any(p.parents) and not o.passed_over)
                 and not exists (select from tasker_step o where o.task_no = s.task_no and o.step_no = any(p.parents) and o.state = 6))""",
    "what only passed over steps lead to does not run": """
      select s.task_no, s.step_no from tasker_step s join tasker_template p using (definition_id, step_no)
       where p.parents <> '{}' and s.state in (0, 1, 2, 3, 4, 5)
         and not exists (select from tasker_step o where o.task_no = s.task_no and o.step_no = any(p.parents) and not o.passed_over)""",
    "a map step and its task know how many items there are": """
      select s.task_no, s.step_no, s.item_count from tasker_step s
       where s.first_item is not null and s.item_count <> (select count(*) from tasker_step i where i.task_no = s.task_no and i.map_no = s.step_no
                                                             and i.step_no = s.first_item + i.item_no and i.item_no < s.item_count)
      union all
      select t.task_no, null, t.item_count from tasker_task t
       where t.item_count <> (select count(*) from tasker_step i where i.task_no = t.task_no and i.map_no is not null and i.step_no >= -t.item_count)""",
    "what an attempt has said belongs to a step that had this attempt; one that was handed back is not counted": """
      select l.task_no, l.step_no, l.attempt from tasker_log l left join tasker_step s using (task_no, step_no)
       where s.task_no is null or l.attempt not between 1 and s.attempts + 1
      union all
      select p.task_no, p.step_no, p.attempt from tasker_progress p left join tasker_step s using (task_no, step_no)
       where s.task_no is null or p.attempt not between 1 and s.attempts + 1""",
    "a completed map step has a result per item": """
      select s.task_no, s.step_no from tasker_step s where s.state = 4 and s.first_item is not null and jsonb_array_length(s.result) <> s.item_count""",
}


# one statement: the random histories ask it thousands of times
ALL_RULES = " union all ".join(f"(select $${rule}$$ as rule, broken::text from ({query}) broken limit 5)" for rule, query in RULES.items())


class Violated(AssertionError):
    """A promise was broken. That it is kept the next time proves nothing, so the test is not tried again."""

    is_final = True


def assert_invariants(conn: psycopg.Connection[Any]) -> None:
    """Every rule holds. Raises `Violated` with the first rows that break one."""
    if broken := conn.execute(ALL_RULES.encode(), prepare=True).fetchall():
        raise Violated(broken)


def stale_rows(conn: psycopg.Connection[Any]) -> int:
    """How many rows of the queues belong to steps that have moved on: none where nothing happened at once."""
    row = conn.execute(
        "select (select count(*) from tasker_ready r join tasker_step s using (task_no, step_no) where s.state <> 1)"
        " + (select count(*) from tasker_delayed d join tasker_step s using (task_no, step_no) where s.state not in (0, 3))"
        " + (select count(*) from tasker_waiting w left join tasker_step s using (task_no, step_no) where s.state is distinct from 1 or s.paused)"
    ).fetchone()
    assert row is not None
    return int(row[0])
