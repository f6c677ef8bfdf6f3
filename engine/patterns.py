"""Regular expressions for JSON Schema that run in linear time, so that no value can hang whoever checks it.

Python's own matcher takes exponential time on patterns such as `(a+)+$`. Here a pattern becomes an automaton whose states
are found as texts need them. Look-around, back-references, word boundaries and inline flags are refused, with the reason.
Called by schemas only.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from re import _constants as kind  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_STATES = 5_000
MAX_CACHED = 2_000

State = frozenset[int]
Test = Callable[[str], bool]


class TooCostly(Exception):
    """Checking a value took longer than the budget."""


class Budget(threading.local):
    """The moment, on time.perf_counter's clock, after which this thread gives up; checked by whoever does long work."""

    until: float = float("inf")

    def check(self) -> None:
        """Raises TooCostly when the time is over."""
        if time.perf_counter() > self.until:
            raise TooCostly


budget = Budget()


class _Unsupported(Exception):
    """A pattern that this engine will not run; the text says why."""


def refusal(pattern: str) -> tuple[str, str] | None:
    """Why the pattern cannot be used, as code and sentence; None when it can."""
    try:
        _compiled(pattern)
    except _Unsupported as error:
        return "pattern_too_costly", str(error)
    except (re.error, RecursionError, OverflowError) as error:
        return "bad_pattern", f"is not a regular expression: {str(error)[:200]}"
    return None


def search(pattern: str, text: str) -> bool:
    """Whether the pattern occurs anywhere in the text, in time proportional to the text's length."""
    return _compiled(pattern).search(text)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> _Automaton:
    if len(pattern) > 10_000:
        raise _Unsupported("is longer than 10,000 characters")
    parsed = parser.parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        raise _Unsupported("uses inline flags")
    return _Automaton(parsed)


class _Automaton:
    """States are numbers; `tests` lead on by a character, `jumps` without one, under a condition at the text's ends."""

    def __init__(self, parsed: Any) -> None:
        self.tests: list[Test | None] = []
        self.jumps: list[list[tuple[int, str]]] = []
        start = self._state()
        self.accept = self._sequence(parsed, start)
        self._again = self._closure([start], "")
        self._first = self._closure([start], "start")
        self._moves: dict[State, dict[str, State]] = {}

    def search(self, text: str) -> bool:
        here = self._first
        for character in text:
            if self.accept in here:
                return True
            moves = self._moves.get(here)
            following = moves.get(character) if moves is not None else None
            here = self._move(here, character) if following is None else following
        return self.accept in here or self.accept in self._closure(here, "start-end" if not text else "end")

    def _move(self, here: State, character: str) -> State:
        budget.check()
        reached = [no + 1 for no in here if (test := self.tests[no]) is not None and test(character)]
        following = self._closure(reached, "") | self._again
        if len(self._moves) >= MAX_CACHED:
            self._moves = {}
        self._moves.setdefault(here, {})[character] = following
        return following

    def _closure(self, states: Iterable[int], place: str) -> State:
        found = set(states)
        waiting = list(found)
        while waiting:
            for target, condition in self.jumps[waiting.pop()]:
                if target not in found and condition in place:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    # Construction: each part begins at a given state and answers the state where it ends.

    def _state(self, test: Test | None = None) -> int:
        if len(self.tests) >= MAX_STATES:
            raise _Unsupported(f"is too large when its repetitions are written out (over {MAX_STATES:,} states)")
        self.tests.append(test)
        self.jumps.append([])
        return len(self.tests) - 1

    def _jump(self, source: int, target: int, condition: str = "") -> None:
        self.jumps[source].append((target, condition))

    def _sequence(self, parts: Any, here: int) -> int:
        for operation, argument in parts:
            here = self._part(operation, argument, here)
        return here

    def _part(self, operation: Any, argument: Any, here: int) -> int:
        if operation in _SINGLE:
            return self._single(_SINGLE[operation](argument), here)
        if operation is kind.SUBPATTERN:
            _, added, removed, inner = argument
            if added or removed:
                raise _Unsupported("uses inline flags")
            return self._sequence(inner, here)
        if operation is kind.BRANCH:
            return self._branch(argument[1], here)
        if operation in (kind.MAX_REPEAT, kind.MIN_REPEAT):
            low, high, inner = argument
            return self._repeat(low, high, inner, here)
        if operation is kind.AT and argument in _PLACES:
            end = self._state()
            self._jump(here, end, _PLACES[argument])
            return end
        raise _Unsupported(f"uses {_WORDS.get(operation, str(operation).lower())}, which cannot be matched in linear time")

    def _single(self, test: Test, here: int) -> int:
        # A test leads from its own state to the next number, so the two are made together.
        tester = self._state(test)
        self._jump(here, tester)
        return self._state()

    def _branch(self, choices: Any, here: int) -> int:
        ends = []
        for choice in choices:
            begin = self._state()
            self._jump(here, begin)
            ends.append(self._sequence(choice, begin))
        end = self._state()
        for choice_end in ends:
            self._jump(choice_end, end)
        return end

    def _repeat(self, low: int, high: Any, inner: Any, here: int) -> int:
        for _ in range(min(low, MAX_STATES + 1)):
            here = self._step(inner, here)
        if high is kind.MAXREPEAT:
            return self._loop(inner, here)
        ends = [here]
        for _ in range(min(high - low, MAX_STATES + 1)):
            ends.append(self._step(inner, ends[-1]))
        for end in ends[:-1]:
            self._jump(end, ends[-1])
        return ends[-1]

    def _step(self, inner: Any, here: int) -> int:
        begin = self._state()
        self._jump(here, begin)
        return self._sequence(inner, begin)

    def _loop(self, inner: Any, here: int) -> int:
        begin = self._state()
        self._jump(here, begin)
        self._jump(self._sequence(inner, begin), begin)
        end = self._state()
        self._jump(begin, end)
        return end


def _literal(code: int) -> Test:
    wanted = chr(code)
    return lambda character: character == wanted


def _not_literal(code: int) -> Test:
    unwanted = chr(code)
    return lambda character: character != unwanted


def _any(_: Any) -> Test:
    return lambda character: character != "\n"


def _one_of(items: Any) -> Test:
    negated = bool(items) and items[0][0] is kind.NEGATE
    tests = [_member(operation, argument) for operation, argument in items if operation is not kind.NEGATE]
    return lambda character: any(test(character) for test in tests) != negated


def _member(operation: Any, argument: Any) -> Test:
    if operation is kind.LITERAL:
        return _literal(argument)
    if operation is kind.RANGE:
        low, high = argument
        return lambda character: low <= ord(character) <= high
    return _category(argument)


def _category(category: Any) -> Test:
    return _CATEGORIES[category]


def _digit(character: str) -> bool:
    return "0" <= character <= "9"


def _space(character: str) -> bool:
    return character.isspace() or character == "\ufeff"


def _word(character: str) -> bool:
    return character == "_" or (character.isascii() and character.isalnum())


# As in the language of JSON Schema: digits and word characters are ASCII, `$` is the end of the text only.
_CATEGORIES: dict[Any, Test] = {
    kind.CATEGORY_DIGIT: _digit,
    kind.CATEGORY_NOT_DIGIT: lambda character: not _digit(character),
    kind.CATEGORY_SPACE: _space,
    kind.CATEGORY_NOT_SPACE: lambda character: not _space(character),
    kind.CATEGORY_WORD: _word,
    kind.CATEGORY_NOT_WORD: lambda character: not _word(character),
}
_SINGLE: dict[Any, Callable[[Any], Test]] = {
    kind.LITERAL: _literal,
    kind.NOT_LITERAL: _not_literal,
    kind.ANY: _any,
    kind.IN: _one_of,
    kind.CATEGORY: _category,
}
_PLACES = {
    kind.AT_BEGINNING: "start",
    kind.AT_BEGINNING_STRING: "start",
    kind.AT_END: "end",
    kind.AT_END_STRING: "end",
}
_WORDS = {
    kind.ASSERT: "look-around",
    kind.ASSERT_NOT: "look-around",
    kind.GROUPREF: "a back-reference",
    kind.GROUPREF_EXISTS: "a back-reference",
    kind.AT: "a word boundary",
    kind.ATOMIC_GROUP: "an atomic group",
    kind.POSSESSIVE_REPEAT: "a possessive repetition",
}
