"""The OpenAPI document taken apart for the page that shows it: operations in their groups, and what their values are, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
SAMPLES: dict[str, Any] = {
    "TaskRequest": {"namespace": "shop", "name": "process_order", "context": {"order_id": 7}},
    "Batch": {"tasks": [{"namespace": "shop", "name": "process_order", "context": {"order_id": 7}}]},
    "Action": {"reason": "the gateway is back"},
    "Reason": {"reason": "a bank holiday"},
    "Resolution": {"result": {"payment_id": "p1"}, "reason": "paid by hand"},
    "Downstream": {"context": {"order_id": 8}, "reason": "wrong order"},
    "ScheduleRequest": {"namespace": "shop", "name": "process_order", "cron": "30 2 * * *", "context": {"order_id": 7}},
}


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter or a member of an object: its kind in words, and the named object it leads to."""

    name: str
    words: str
    link: str | None
    is_required: bool
    description: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What may come back."""

    status: str
    description: str
    words: str
    link: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Value, ...]
    body: Answer | None
    done: tuple[Answer, ...]
    errors: tuple[Answer, ...]
    sample: str


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one tag."""

    name: str
    description: str
    operations: tuple[Operation, ...]


def groups(spec: dict[str, Any], server: str) -> list[Group]:
    """Every operation of the document in its group; `server` is where the samples send to."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in spec["tags"]}
    for path, item in spec["paths"].items():
        for method in METHODS:
            if method in item:
                found[item[method]["tags"][0]].append(_operation(spec, path, method, item, server))
    return [Group(tag["name"], tag["description"], tuple(found[tag["name"]])) for tag in spec["tags"]]


def objects(spec: dict[str, Any]) -> list[tuple[str, tuple[Value, ...]]]:
    """Every named object with its members."""
    return [(name, tuple(_members(schema))) for name, schema in sorted(spec["components"]["schemas"].items())]


def _operation(spec: dict[str, Any], path: str, method: str, item: dict[str, Any], server: str) -> Operation:
    about = item[method]
    given = [*item.get("parameters", ()), *about.get("parameters", ())]
    answers = [_answer(spec, status, one) for status, one in about["responses"].items()]
    return Operation(
        id=about["operationId"],
        method=method.upper(),
        path=path,
        summary=about["summary"],
        description=about.get("description", ""),
        parameters=tuple(_value(one["name"], one["schema"], one.get("required", False), one.get("description", ""), one["in"]) for one in given),
        body=_body(about.get("requestBody")),
        done=tuple(one for one in answers if one.status < "400"),
        errors=tuple(one for one in answers if one.status >= "400"),
        sample=_sample(path, method, about, server),
    )


def _answer(spec: dict[str, Any], status: str, response: dict[str, Any]) -> Answer:
    if "$ref" in response:
        response = spec["components"]["responses"][_name(response["$ref"])]
    content = response.get("content", {}).get("application/json", {})
    words, link = _words(content["schema"]) if "schema" in content else ("", None)
    return Answer(str(status), response["description"], words, link)


def _body(body: dict[str, Any] | None) -> Answer | None:
    if body is None:
        return None
    words, link = _words(body["content"]["application/json"]["schema"])
    return Answer("", "" if body.get("required") else "may be left out", words, link)


def _members(schema: dict[str, Any]) -> Iterator[Value]:
    needed = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        yield _value(name, one, name in needed, one.get("description", ""))


def _value(name: str, schema: dict[str, Any], is_required: bool, description: str, place: str = "") -> Value:
    words, link = _words(schema)
    return Value(name, words, link, is_required, description, place)


def _words(schema: dict[str, Any]) -> tuple[str, str | None]:
    """What a value is, such as `list of Task`, and the object that it names."""
    if "$ref" in schema:
        return _name(schema["$ref"]), _name(schema["$ref"])
    if "anyOf" in schema or "oneOf" in schema:
        parts = [_words(one) for one in schema.get("anyOf") or schema["oneOf"]]
        return " or ".join(words for words, _ in parts), next((link for _, link in parts if link), None)
    if "enum" in schema:
        return "one of " + ", ".join(str(one) for one in schema["enum"] if one is not None), None
    kinds = schema.get("type", "any JSON")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "items" in schema:
        words, link = _words(schema["items"])
        return kind.replace("array", f"list of {words}"), link
    if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        words, link = _words(schema["additionalProperties"])
        return f"{kind} of {words}", link
    return ", ".join([kind, *_limits(schema)]), None


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    if "format" in schema:
        yield str(schema["format"])
    if "minimum" in schema or "maximum" in schema:
        yield f"{schema.get('minimum', '')} to {schema.get('maximum', '')}".strip()
    if "maxLength" in schema:
        yield f"up to {schema['maxLength']:,} characters"
    if schema.get("default") not in (None, {}):
        yield f"{json.dumps(schema['default'])} when left out"


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _sample(path: str, method: str, about: dict[str, Any], server: str) -> str:
    shown = path.replace("{task_id}", "$TASK").replace("{step_name}", "charge").replace("{namespace}", "shop")
    shown = shown.replace("{name}", "process_order").replace("{version}", "1.0.0").replace("{schedule_id}", "1")
    verb = "" if method == "get" else f" -X {method.upper()}"
    lines = [f'curl{verb} "{server}{shown}"', '  -H "Authorization: Bearer $TASKER_TOKEN"']
    body = about.get("requestBody")
    if body:
        sample = SAMPLES.get(_name(body["content"]["application/json"]["schema"].get("$ref", "")), {})
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{json.dumps(sample)}'"]
    return " \\\n".join(lines)
