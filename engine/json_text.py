"""The one place where values become JSON text and JSON text becomes values, under one set of limits.

Inputs that PostgreSQL or Python could not keep are refused with every place named; results are cleaned where that is
possible and refused, as a failure of their step, where it is not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from engine.errors import Problem, RequestError

MAX_BYTES = 1 << 20
LARGE_BYTES = 256 << 10
"""A context or result that is larger is taken, and said to be: it is read and written whole by every step that needs it."""
MAX_DEPTH = 64
MAX_NODES = 10_000
MAX_STRING_BYTES = 256 << 10
MAX_INTEGER = 2**63 - 1
OBJECT_MARK: Final = "@"
"""What begins with it is no JSON but the key of the object that holds it, see engine.objects."""
REPLACED_KEY = "_tasker_replaced"
"""In a result that is an object: the paths whose text lost a NUL or a lone surrogate to U+FFFD."""

UNREADABLE_KEY = "_tasker_unreadable"
"""The only key of what stands for a value that another program wrote and this one cannot hold: why it cannot."""

_MAX_STORED_BYTES = 16 << 20
_MAX_STORED_DEPTH = 2 * MAX_DEPTH  # what queries wrap around a value is nested too
_WALK_BUDGET = 64 << 20
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUL_ESCAPE = "\\u0000"
_PLAIN_NAME = re.compile(r"[^\W\d]\w*\Z")
_NO_NUMBER = re.compile(r"-?(Infinity|NaN)\Z")
_BRACKETS = re.compile(r'([\[\]{}])|"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)', re.DOTALL)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


class ResultRejected(Exception):
    """A step's result that cannot be stored; `kind` is the error type that the step fails with."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Unreadable(ValueError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def child_path(path: str, key: object) -> str:
    """`$.a`, `$.a[3]` or `$["odd key"]`: the path of one member."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    text = str(key)
    return f"{path}.{text}" if _PLAIN_NAME.match(text) else f"{path}[{json.dumps(text)}]"


def dump(value: Any) -> str:
    """Compact JSON of a value that is already known to be plain."""
    return _encode(value)


def canonical(value: Any) -> str:
    """JSON that is the same text for the same content: sorted keys, no spaces."""
    return _encode_sorted(value)


def load(text: str) -> Any:
    """Read JSON text that this engine or PostgreSQL wrote. Raises ValueError, with the reason, for what only another program can have written."""
    try:
        return _held(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"the JSON that another program wrote cannot be read: {_why_not_held(error)}") from None


def read_stored(text: str | bytes) -> Any:
    """What stands in a column, whoever wrote it: what cannot be held is `{UNREADABLE_KEY: why}`, so that one row is never in the way of others."""
    if len(text) > _MAX_STORED_BYTES:
        return {UNREADABLE_KEY: f"it is {len(text):,} bytes"}
    try:
        return _held(text)
    except (RecursionError, ValueError) as error:
        return {UNREADABLE_KEY: _why_not_held(error)}


def _why_not_held(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {_MAX_STORED_DEPTH} levels"
    if isinstance(error, (_Unreadable, json.JSONDecodeError)):
        return str(error)
    return "it holds a number of more digits than can be read"


def _held(text: str | bytes) -> Any:
    if isinstance(text, bytes):
        text = text.decode()
    value = _decode(text)
    if text.count("[") + text.count("{") > _MAX_STORED_DEPTH and _is_deeper(value, _MAX_STORED_DEPTH):
        raise RecursionError
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                deeper.extend(node.values())
            elif isinstance(node, list):
                deeper.extend(node)
        level = deeper
    return any(isinstance(node, (dict, list)) for node in level)


# Inputs: refuse, naming every place.


def read_input(text: str | bytes) -> Any:
    """Parse JSON from outside; raises RequestError for text that is too large, too deep, ambiguous or no JSON."""
    problem = _unreadable(text)
    if problem:
        raise RequestError([problem])
    try:
        value = _parse(text)
    except _Unreadable as error:
        raise RequestError([Problem("$", error.code, str(error))]) from None
    problems = input_problems(value)
    if problems:
        raise RequestError(problems)
    return value


def input_problems(value: Any, path: str = "$") -> list[Problem]:
    """Everything that keeps a Python value from being an input: at most 50 problems, each with its path."""
    problems: list[Problem] = []
    nodes = 0
    for nodes, (place, depth, node) in enumerate(_nodes(value, path), 1):
        found = _node_problem(node, depth)
        if found:
            problems.append(Problem(place, *found))
        if nodes > MAX_NODES or len(problems) >= 50 or depth > MAX_DEPTH:
            break
    if nodes > MAX_NODES:
        problems.append(Problem(path, "too_many_values", f"holds more than {MAX_NODES:,} values"))
    return problems or _size_problem(value, path)


def _unreadable(text: str | bytes) -> Problem | None:
    if len(text) > MAX_BYTES:
        return Problem("$", "too_large", f"is {len(text):,} bytes; the limit is {MAX_BYTES:,}")
    if _bracket_depth(text) > MAX_DEPTH:
        return Problem("$", "too_deep", f"is nested deeper than {MAX_DEPTH} levels")
    return None


def _bracket_depth(text: str | bytes) -> int:
    # Before parsing: Python's parser would recurse. The pattern takes each string as a whole, closed or not, in one pass.
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        if found[1]:
            depth += 1 if found[1] in "[{" else -1
            deepest = max(deepest, depth)
    return deepest


def _parse(text: str | bytes) -> Any:
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_finite
        )
    except _Unreadable:
        raise
    except UnicodeDecodeError as error:
        raise _Unreadable("bad_encoding", f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _Unreadable("bad_json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _Unreadable("too_deep", f"is nested deeper than {MAX_DEPTH} levels") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Unreadable("duplicate_key", f"the key {_short(twice)} occurs more than once in one object")
    return members


def _refuse_constant(text: str) -> Any:
    raise _Unreadable("not_finite", f"{text} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise _Unreadable("number_too_large", f"{_short(digits)} does not fit in 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _Unreadable("not_finite", f"{_short(digits)} is beyond the range of a number")
    return number


def _stored_integer(digits: str) -> int | float:
    """A number as large as this was written as a float: PostgreSQL's jsonb gives every digit of one."""
    number = int(digits)
    return number if abs(number) <= MAX_INTEGER else _finite(digits)


_decode = json.JSONDecoder(parse_float=_finite, parse_int=_stored_integer).decode


def _nodes(value: Any, path: str) -> Iterator[tuple[str, int, Any]]:
    stack: list[tuple[str, int, Any]] = [(path, 1, value)]
    while stack:
        place, depth, node = stack.pop()
        yield place, depth, node
        if isinstance(node, dict):
            stack.extend((child_path(place, key), depth + 1, child) for key, child in reversed(node.items()))
        elif isinstance(node, (list, tuple)):
            stack.extend((child_path(place, no), depth + 1, node[no]) for no in reversed(range(min(len(node), MAX_NODES + 1))))


def _node_problem(node: Any, depth: int) -> tuple[str, str] | None:
    if isinstance(node, str):
        return _string_problem(node)
    if node is None or isinstance(node, bool):
        return None
    if isinstance(node, int):
        return ("number_too_large", "does not fit in 64 bits") if abs(node) > MAX_INTEGER else None
    if isinstance(node, float):
        return None if node - node == 0.0 else ("not_finite", f"{node} is not a JSON number")
    if isinstance(node, dict):
        return _too_deep(depth) or next(filter(None, map(_key_problem, node)), None)
    if isinstance(node, (list, tuple)):
        return _too_deep(depth)
    return "not_json", f"{_type_name(node)} is not JSON"


def _too_deep(depth: int) -> tuple[str, str] | None:
    return ("too_deep", f"is nested deeper than {MAX_DEPTH} levels") if depth > MAX_DEPTH else None


def _key_problem(key: Any) -> tuple[str, str] | None:
    if not isinstance(key, str):
        return "not_json", f"the key {_short(key)} is {_type_name(key)}, not a string"
    if key == UNREADABLE_KEY:
        return "unreadable", "stands for a value in the database that cannot be read, and is none itself"
    return _string_problem(key)


def _string_problem(text: str) -> tuple[str, str] | None:
    if len(text) > MAX_STRING_BYTES:
        return "too_large", f"is a string of {len(text):,} characters; the limit is {MAX_STRING_BYTES:,}"
    found = None if text.isascii() and "\0" not in text else _UNSTORABLE.search(text)
    if found is None:
        return None
    return ("nul_character", "contains a NUL character") if found[0] == "\0" else ("lone_surrogate", "contains half a surrogate pair")


def _size_problem(value: Any, path: str) -> list[Problem]:
    size = len(_encode(value).encode())
    return [Problem(path, "too_large", f"is {size:,} bytes; the limit is {MAX_BYTES:,}")] if size > MAX_BYTES else []


# Results: clean what can be cleaned, refuse the rest.


def write_result(value: Any, most: int = MAX_BYTES) -> str:
    """The JSON text of a step's result; raises ResultRejected when it is no JSON, too deep or larger than `most` bytes."""
    if value is None:
        return "null"
    _check_shape(value, most)
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        plain = _dumped(value)
        if plain is value:
            raise _not_json(value) from None
        return write_result(plain, most)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > most:
        raise _too_large(f"{size:,}", text, most)
    return text if _storable(text) else _cleaned(value)


def _dumped(value: Any) -> Any:
    """The value with every pydantic model in it as JSON values; the value itself when there is none."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return value
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        made = {key: _dumped(member) for key, member in value.items()}
        return made if any(made[key] is not value[key] for key in made) else value
    if isinstance(value, (list, tuple)):
        items = [_dumped(item) for item in value]
        return items if any(one is not other for one, other in zip(items, value, strict=True)) else value
    return value


def byte_count(text: str) -> int:
    """How much a result takes that `write_result` wrote."""
    return len(text) if text.isascii() else len(text.encode())


def need_small(text: str) -> str:
    """The result, if it may be kept in the database. Raises `ResultRejected`."""
    size = byte_count(text)
    if size > MAX_BYTES:
        raise _too_large(f"{size:,}", text)
    return text


def _check_shape(value: Any, most: int) -> None:
    # The C encoder would turn keys into strings silently and follow shared references for ever: look before it does.
    budget = _WALK_BUDGET
    level: list[Any] = [value]
    depth = 0
    while level:
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, str):
                budget -= len(node)
            elif isinstance(node, dict):
                for key in node:
                    if not isinstance(key, str):
                        raise _not_json(value)
                    budget -= len(key)
                deeper.extend(node.values())
            elif isinstance(node, (list, tuple)):
                deeper.extend(node)
            if len(deeper) > most:
                raise _too_large(f"more than {most:,}", "", most)
        budget -= len(deeper)
        if budget < 0:
            raise _too_large(f"more than {_WALK_BUDGET:,}", "", most)
        level = deeper
        depth += 1
        if depth > MAX_DEPTH + 1 or (depth > MAX_DEPTH and any(isinstance(node, (dict, list, tuple)) for node in level)):
            raise ResultRejected("result_too_deep", f"the result is nested deeper than {MAX_DEPTH} levels")


def _storable(text: str) -> bool:
    if _NUL_ESCAPE in text:
        return False
    return text.isascii() or _UNSTORABLE.search(text) is None


def _cleaned(value: Any) -> str:
    places: list[str] = []
    clean = _clean(value, "$", places)
    if places and isinstance(clean, dict):
        clean[REPLACED_KEY] = places[:50]
    return _encode(clean)


def _clean(value: Any, path: str, places: list[str]) -> Any:
    if isinstance(value, str):
        return _clean_text(value, path, places)
    if isinstance(value, dict):
        return {_clean_text(key, path, places): _clean(child, child_path(path, clean_text(key)), places) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(child, child_path(path, no), places) for no, child in enumerate(value)]
    return value


def _clean_text(text: str, path: str, places: list[str]) -> str:
    clean = clean_text(text)
    if clean != text:
        places.append(path)
    return clean


def clean_text(text: str) -> str:
    """The text with every NUL and lone surrogate replaced by U+FFFD, so that PostgreSQL can keep it."""
    return _UNSTORABLE.sub("\ufffd", text)


def _not_json(value: Any) -> ResultRejected:
    for place, depth, node in _nodes(value, "$"):
        if depth > MAX_DEPTH:
            return ResultRejected("result_too_deep", f"the result is nested deeper than {MAX_DEPTH} levels")
        found = _unencodable(node)
        if found:
            return ResultRejected("result_not_json", f"{place}: {found}")
    return ResultRejected("result_not_json", "$: the result cannot be written as JSON")


def _unencodable(node: Any) -> str | None:
    if isinstance(node, dict):
        odd = next((key for key in node if not isinstance(key, str)), None) if not all(isinstance(key, str) for key in node) else None
        return None if all(isinstance(key, str) for key in node) else f"the key {_short(odd)} is {_type_name(odd)}, not a string"
    if isinstance(node, float):
        return None if node - node == 0.0 else f"{float(node)} is not a JSON number"
    if isinstance(node, int) and not isinstance(node, bool):
        return None if node.bit_length() <= 4096 else "the integer is too large"
    return None if node is None or isinstance(node, (bool, str, list, tuple)) else f"{_type_name(node)} is not JSON"


def _too_large(size: str, text: str, most: int = MAX_BYTES) -> ResultRejected:
    preview = f"; it begins {clean_text(text[:1000])}" if text else ""
    return ResultRejected("result_too_large", f"the result is {size} bytes; the limit is {most:,}{preview}")


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = _type_name(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
