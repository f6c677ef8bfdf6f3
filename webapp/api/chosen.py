"""A filter of tasks inside a body: the same parts as those of `GET /tasks`, none of them without meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import Problem, RequestError
from webapp.api.bodies import StrictSchema, TasksQuery
from webapp.task_filter import read_filter


class ChosenTasksSchema(TasksQuery, StrictSchema):
    """The filters of the list of tasks."""

    class Meta(StrictSchema.Meta):
        exclude = ("limit", "cursor")


def parameters_of(given: Mapping[str, Any]) -> dict[str, str]:
    """The filter's parameters. Raises `RequestError`: a part that says nothing would leave the list wider than it was meant."""
    parameters = {name: str(value) for name, value in given.items()}
    if problems := read_filter(parameters).problems:
        raise RequestError([Problem(f"filter.{name}", "invalid", words) for name, words in problems.items()])
    return parameters
