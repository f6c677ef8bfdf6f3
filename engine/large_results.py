"""Results that lie in the object store, for those who read tasks: what stands for one is replaced by what it holds, and what a dropped task leaves is deleted.

The read side calls it where it hands out results. Only a row of `tasker_object` makes a result stand for an object, whatever it looks like.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine import json_text, objects
from engine.db import Database
from engine.errors import TaskerError

log = logging.getLogger("tasker.engine")
AT_ONCE = 100
"""So many folders are deleted in a round."""
MOST_BYTES = 32 << 20
"""So much is fetched for one answer; of further results it holds what stands for them."""


def resolved(db: Database, task_id: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """The results of one task by step name, those in the store fetched. Of one that is not, what stands for it, with the reason as `error`."""
    likely = {name: key for name, result in results.items() if (key := objects.key_of(result)) is not None}
    found, left = dict(results), MOST_BYTES
    for name, key, size in _known(db, task_id, likely) if likely else []:
        left -= size
        found[name] = _content(key, size) if left >= 0 else _unread(key, size, "not fetched, as there is much else here; ask for this step alone")
    return found


def resolved_one(db: Database, task_id: str, step_name: str | None, result: Any) -> Any:
    """The result of one step likewise."""
    return result if step_name is None or objects.key_of(result) is None else resolved(db, task_id, {step_name: result})[step_name]


def delete_left(db: Database) -> int:
    """Of what dropped tasks have left in the store, the next folders are gone; how many. A store that fails keeps the rest for the next round."""
    folders = [row[0] for row in db.rows("select f.folder from tasker_object_left f order by f.left_at, f.folder limit %(limit)s", {"limit": AT_ONCE})]
    keeper = objects.keeper() if folders else None
    if keeper is None:
        return 0
    gone = _deleted(keeper, folders)
    if gone:
        db.value("select tasker_clear_objects(%(folders)s)", {"folders": gone})
    return len(gone)


def left_count(db: Database) -> int:
    """How many folders of dropped tasks are still to be deleted."""
    count: int = db.value("select count(*) from tasker_object_left")
    return count


def _deleted(keeper: objects.Keeper, folders: Sequence[str]) -> list[str]:
    gone: list[str] = []
    try:
        for folder in folders:
            keeper.delete(folder)
            gone.append(folder)
    except TaskerError as error:
        log.warning("what dropped tasks left in the object store is deleted later: %s", error)
    return gone


def _known(db: Database, task_id: str, likely: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Name, key and bytes of those that do stand for an object, in the order of the steps."""
    found = db.rows(
        """
        select k.name, o.key, o.byte_count from tasker_task t
          join tasker_object o using (task_no)
         cross join lateral (select s.name from tasker_steps s where s.task_no = t.task_no and s.step_no = o.step_no offset 0) k
         where t.task_id = %(task)s and k.name = any(%(names)s) order by o.step_no
        """,
        {"task": task_id, "names": list(likely)},
    )
    return [(name, key, size) for name, key, size in found if likely[name] == key]


def _content(key: str, size: int) -> Any:
    try:
        return json_text.load(objects.object_text(key))
    except TaskerError as error:
        return _unread(key, size, str(error))


def _unread(key: str, size: int, reason: str) -> Any:
    return {objects.NAME: {"key": key, "bytes": size, "error": reason}}
