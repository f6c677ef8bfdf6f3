"""The launch form: a context asked for field by field, as its JSON Schema says, without any script.

The launch page makes one per request. What to ask and how texts become values is webapp.form_parts' business; this module turns
parts into WTForms fields and a tree that launches/_field.html renders, serves the buttons that change the form, and puts each
of the engine's objections beside the field it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from math import ceil, floor
from typing import Any, ClassVar

from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, SelectField, StringField, widgets
from wtforms.fields import SelectChoice
from wtforms.form import BaseForm

from engine import json_text, schemas
from engine.errors import Problem
from engine.hiding.redaction import is_marked
from engine.requests import context_schema
from webapp.form_parts import (
    ABSENT,
    AS_JSON,
    GIVEN,
    MAX_FIELDS,
    MORE,
    ROWS,
    VALUE,
    VARIANT,
    Entries,
    Fixed,
    Flag,
    Free,
    Group,
    Leaf,
    Moment,
    Number,
    Options,
    Part,
    Reading,
    Rows,
    Schema,
    Text,
    Variants,
    child,
    pretty,
    sentence,
)
from webapp.form_schema import part_of

ADD = "_add:"
REMOVE = "_remove:"
CHOOSE = "_choose:"
_SHOWN = "_shown:"
_ENTRY = re.compile(f"({VALUE}|{ROWS}|{VARIANT}|{MORE}|{AS_JSON}|{GIVEN}|{_SHOWN})(|/.*)", re.DOTALL)
_ROW_NUMBER = re.compile("0|[1-9][0-9]{0,5}")
_LONG_TEXT = 200
_NEST = 16


def launch_form(
    schema: Schema | None, formdata: MultiDict[str, str] | None = None, initial: dict[str, Any] | None = None
) -> LaunchForm:
    """The form for a context: as submitted when there is `formdata`, else filled with `initial`, else with the defaults."""
    return LaunchForm(schema, formdata, initial)


# What the template renders


@dataclass(kw_only=True)
class Node:
    """One thing on the page. `id` is its HTML id; help and errors have ids made from it."""

    kind: ClassVar[str] = ""
    id: str
    label: str
    help: str = ""
    required: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def described_by(self) -> str | None:
        """The ids of the help and the errors, for aria-describedby; None when there are neither."""
        ids = [f"{self.id}.help"] * bool(self.help) + [f"{self.id}.error"] * bool(self.errors)
        return " ".join(ids) or None


@dataclass(kw_only=True)
class Input(Node):
    """A label and one WTForms field, which `control` renders."""

    kind: ClassVar[str] = "input"
    name: str
    is_checkbox: bool = False
    field: Any = None

    @property
    def control(self) -> Any:
        """The HTML of the field with its attributes for accessibility."""
        needs = "true" if self.required and not self.is_checkbox else False
        invalid = "true" if self.errors else False
        return self.field(aria_describedby=self.described_by or False, aria_required=needs, aria_invalid=invalid)


@dataclass(kw_only=True)
class Constant(Node):
    """A value that is always the same."""

    kind: ClassVar[str] = "constant"
    text: str


@dataclass(kw_only=True)
class Fieldset(Node):
    """An object."""

    kind: ClassVar[str] = "fieldset"
    children: list[Node]


@dataclass(kw_only=True)
class Row:
    """One item of an array; `remove` is the name of the button that takes it away."""

    node: Node
    remove: str


@dataclass(kw_only=True)
class RowSet(Node):
    """An array; `add` is the name of the button that adds a row."""

    kind: ClassVar[str] = "rows"
    rows: list[Row]
    add: str


@dataclass(kw_only=True)
class Choice(Node):
    """A select of variants, the button (named `choose`) that shows the chosen one's fields, and these fields."""

    kind: ClassVar[str] = "choice"
    select: Input
    choose: str
    chosen: Node | None


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One line of the summary at the top: what is wrong, and the id of the field to go to."""

    id: str
    label: str
    message: str


# The form


class LaunchForm:
    """A launch form in one state.

    `fields` is the tree to render, `hidden` the names and texts that must come back with it. `changed` is true when a button
    of the form itself was pressed, or another variant was chosen: render it again, do not launch. After `validate`, errors
    stand in the tree, and in `form_errors` where no field is to blame.
    """

    def __init__(
        self, schema: Schema | None, formdata: MultiDict[str, str] | None = None, initial: dict[str, Any] | None = None
    ) -> None:
        self.schema = schema if isinstance(schema, dict) else {}
        self.form_errors: list[str] = []
        self.changed = False
        self._checked = context_schema(self.schema)
        self._part = part_of(schema)
        self._entries = self._filled(initial) if formdata is None else self._submitted(formdata)
        self._limit_size()
        self._tree = _Tree(self._part, self._entries)

    @property
    def fields(self) -> list[Node]:
        root = self._tree.root
        return root.children if isinstance(root, Fieldset) else [root]

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """Counts of rows, chosen variants, and what was entered in fields that are not shown at the moment."""
        rest = [(name, text) for name, text in self._entries.items() if name not in self._tree.fields]
        return rest + [(_SHOWN + at, self._entries.get(VARIANT + at, "")) for at in self._tree.choices]

    @property
    def errors(self) -> list[FieldError]:
        """Every error of a field, in the order of the page."""
        nodes = self._tree.nodes.values()
        return [FieldError(id=node.id, label=node.label, message=text) for node in nodes for text in node.errors]

    def context(self) -> dict[str, Any]:
        """What was entered, as the context to launch with: without empty optional fields and before defaults."""
        value, _ = self._read
        return value if isinstance(value, dict) else {}

    def validate(self) -> bool:
        """Whether the engine would take the context; afterwards every objection stands at its field."""
        value, reading = self._read
        for at, message in reading.problems.items():
            self._blame(at, sentence("", message))
        if not reading.problems.get(""):
            self._object_to(value)
        return not (self.errors or self.form_errors)

    # State

    def _filled(self, initial: dict[str, Any] | None) -> Entries:
        entries: Entries = {}
        if initial is None:
            self._part.fresh("", entries, required=True)
        else:
            self._part.fill(self._checked.with_defaults(initial), "", entries, required=True)
        if isinstance(self._part, Free):
            entries.setdefault(VALUE, "{}")
        return entries

    def _submitted(self, formdata: MultiDict[str, str]) -> Entries:
        entries = _entries_of(formdata)
        if VALUE in entries and VARIANT not in entries and not isinstance(self._part, Leaf):
            entries[AS_JSON] = "1"
        tree = _Tree(self._part, entries)
        pressed = [_press(name, tree, entries) for name in list(formdata)]
        chosen = [_show_variant(at, part, formdata, entries) for at, part in tree.choices.items()]
        self.changed = any(pressed) or any(chosen)
        return entries

    def _limit_size(self) -> None:
        inputs = (name for name in self._part.names("", self._entries) if name.startswith((VALUE, VARIANT)))
        if sum(1 for _ in islice(inputs, MAX_FIELDS + 1)) > MAX_FIELDS:
            self._entries = {AS_JSON: "1", VALUE: pretty(self.context())}
            self.__dict__.pop("_read", None)

    @cached_property
    def _read(self) -> tuple[Any, Reading]:
        reading = Reading(self._entries)
        return self._part.read("", "$", reading, required=True), reading

    # Objections

    def _object_to(self, value: Any) -> None:
        if value is ABSENT or isinstance(value, dict):
            self._object(self._problems(), _NEST)
        else:
            self._blame("", "Must be a JSON object")

    def _problems(self) -> list[Problem]:
        context = self._checked.with_defaults(self.context())
        return json_text.input_problems(context) or schemas.check(self._checked, context)

    def _object(self, problems: Iterable[Problem], nest: int) -> None:
        _, reading = self._read
        for problem in problems:
            place = _nearest(problem.path, reading.values)
            at = reading.places[place]
            closer = self._closer(problem, at, reading) if problem.path == place and nest else []
            if closer:
                self._object(closer, nest - 1)
            elif at not in reading.problems:
                self._blame(at, sentence(problem.path[len(place) :], problem.message))

    def _closer(self, problem: Problem, at: str, reading: Reading) -> list[Problem]:
        """What the chosen variant objects to, in place of "none of the variants fits"."""
        part = self._tree.parts.get(at)
        if problem.code not in ("oneOf", "anyOf") or part is None or isinstance(part, Variants):
            return []
        definitions: Schema = {name: self.schema[name] for name in ("$defs", "definitions") if name in self.schema}
        chosen = schemas.ContextSchema({**part.schema, **definitions})
        closer = schemas.check(chosen, reading.values[problem.path], problem.path)
        return [] if problem in closer else closer

    def _blame(self, at: str, message: str) -> None:
        node = self._tree.nodes.get(at) or self._tree.nodes.get(MORE + at)
        errors = self.form_errors if node is None else node.errors
        if message not in errors:
            errors.append(message)


def _nearest(path: str, known: Iterable[str]) -> str:
    """The longest known path that leads to the given one."""
    return max((place for place in known if _leads(place, path)), key=len, default="$")


def _leads(place: str, path: str) -> bool:
    return path.startswith(place) and path[len(place) : len(place) + 1] in ("", ".", "[")


# Submissions


def _entries_of(formdata: MultiDict[str, str]) -> Entries:
    """The form's own entries, blank ones left out; line ends as the user typed them, not as HTTP sends them."""
    entries: Entries = {}
    for name in formdata:
        text = str(formdata[name]).replace("\r\n", "\n")
        if _ENTRY.fullmatch(name) and not name.startswith(_SHOWN) and text:
            entries[name] = text
    _limit_rows(entries)
    return entries


def _limit_rows(entries: Entries) -> None:
    left = MAX_FIELDS
    for name in [name for name in entries if name.startswith(ROWS)]:
        text = entries.pop(name)
        rows = min(int(text), left) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        left -= rows
        if rows:
            entries[name] = str(rows)


def _press(name: str, tree: _Tree, entries: Entries) -> bool:
    """Do what a button stands for; false for names that are no button of this form."""
    if name.startswith(ADD) and name[len(ADD) :] in tree.row_sets:
        at = name[len(ADD) :]
        tree.row_sets[at].add(at, entries)
        return True
    at, _, number = name.removeprefix(REMOVE).rpartition(":")
    if name.startswith(REMOVE) and at in tree.row_sets and _ROW_NUMBER.fullmatch(number):
        _remove(tree.row_sets[at], at, int(number), entries)
        return True
    return name.startswith(CHOOSE)


def _remove(rows: Rows, at: str, number: int, entries: Entries) -> None:
    """Take out everything of a row and move the rows behind it up."""
    count = rows.count(at, entries)
    if number >= count:
        return
    texts = {name: entries.pop(name) for name in list(entries) if _row_number(name, at) >= number}
    for name, text in texts.items():
        if _row_number(name, at) > number:
            entries[_moved_up(name, at)] = text
    entries[ROWS + at] = str(count - 1)


def _row_number(name: str, at: str) -> int:
    """Which row of the array an entry belongs to; -1 when to none."""
    found = _ENTRY.fullmatch(name)
    inner = found[2].removeprefix(f"{at}/") if found and found[2].startswith(f"{at}/") else ""
    number = inner.partition("/")[0]
    return int(number) if _ROW_NUMBER.fullmatch(number) else -1


def _moved_up(name: str, at: str) -> str:
    number = _row_number(name, at)
    start = name.index(f"{at}/{number}") + len(at) + 1
    return f"{name[:start]}{number - 1}{name[start + len(str(number)) :]}"


def _show_variant(at: str, part: Variants, formdata: MultiDict[str, str], entries: Entries) -> bool:
    """Fill the fields of a newly chosen variant with their defaults; what was entered under the same names stays."""
    if _SHOWN + at not in formdata or formdata[_SHOWN + at] == entries.get(VARIANT + at, ""):
        return False
    entries.pop(GIVEN + at, None)
    chosen = part.chosen(at, entries)
    fresh: Entries = {}
    if chosen is not None:
        chosen.fresh(at, fresh, required=True)
    for name, text in fresh.items():
        entries.setdefault(name, text)
    return True


# From parts to the tree


class _Tree:
    """The nodes of a form in the order of the page, the WTForms fields inside, and the parts they stand for."""

    def __init__(self, part: Part, entries: Mapping[str, str]) -> None:
        self.nodes: dict[str, Node] = {}
        self.parts: dict[str, Part] = {}
        self.row_sets: dict[str, Rows] = {}
        self.choices: dict[str, Variants] = {}
        self.fields: dict[str, Any] = {}
        self._entries = entries
        self._inputs: list[Input] = []
        self.root = self._node(part, "", part.title or "Context", required=True)
        if isinstance(self.root, Fieldset):
            del self.nodes[""]
        self._bind()

    def _bind(self) -> None:
        form = BaseForm(self.fields)
        form.process(MultiDict(self._entries))
        for node in self._inputs:
            node.field = form[node.name]

    def _node(self, part: Part, at: str, label: str, *, required: bool) -> Node:
        self.parts[at] = part
        if AS_JSON + at in self._entries:
            return self._input(Free(schema=part.schema), at, label, required=required)
        if isinstance(part, Group):
            return self._fieldset(part, at, label, required=required)
        if isinstance(part, Rows):
            return self._row_set(part, at, label, required=required)
        if isinstance(part, Variants):
            return self._choice(part, at, label, required=required)
        if isinstance(part, Fixed) and part.is_always(required=required):
            return self._constant(part, at, label)
        assert isinstance(part, Leaf)
        return self._input(part, at, label, required=required)

    def _fieldset(self, part: Group, at: str, label: str, *, required: bool) -> Fieldset:
        node = Fieldset(id=_id(at), label=label, help=part.help, required=required, children=[])
        self.nodes[at] = node
        for name, inner in part.parts.items():
            member = self._node(inner, child(at, name), inner.title or name, required=name in part.required)
            node.children.append(member)
        if part.has_more or MORE + at in self._entries:
            node.children.append(self._more(at))
        return node

    def _more(self, at: str) -> Input:
        node = Input(id=f"{_id(at)}.more", label="More fields", help="A JSON object.", name=MORE + at)
        self.nodes[MORE + at] = node
        return self._registered(node, StringField, widget=widgets.TextArea(), render_kw=_JSON_LOOK)

    def _row_set(self, part: Rows, at: str, label: str, *, required: bool) -> RowSet:
        node = RowSet(id=_id(at), label=label, help=part.help, required=required, rows=[], add=ADD + at)
        self.nodes[at] = node
        self.row_sets[at] = part
        title = part.item.title or label
        for number in range(part.count(at, self._entries)):
            item = self._node(part.item, child(at, number), f"{title} {number + 1}", required=True)
            item.required = False
            node.rows.append(Row(node=item, remove=f"{REMOVE}{at}:{number}"))
        return node

    def _choice(self, part: Variants, at: str, label: str, *, required: bool) -> Choice:
        select = Input(id=f"{_id(at)}.choice", label=label, help=part.help, required=required, name=VARIANT + at)
        titles = [SelectChoice(title) for title in part.variants]
        self._registered(select, SelectField, choices=[_none(required=required), *titles], validate_choice=False)
        self.nodes[at] = select
        self.choices[at] = part
        chosen, title = part.chosen(at, self._entries), self._entries.get(VARIANT + at, "")
        shown = None if chosen is None else self._node(chosen, at, title, required=True)
        if isinstance(shown, Fieldset):
            shown.required = False
        return Choice(id=_id(at), label=label, required=required, select=select, choose=CHOOSE + at, chosen=shown)

    def _constant(self, part: Fixed, at: str, label: str) -> Constant:
        text = part.value if isinstance(part.value, str) else json_text.dump(part.value)
        node = Constant(id=_id(at), label=label, help=part.help, text=text)
        self.nodes[at] = node
        return node

    def _input(self, part: Leaf, at: str, label: str, *, required: bool) -> Input:
        text = self._entries.get(VALUE + at, "")
        must = required and not part.nullable
        node = Input(id=_id(at), label=label, help=_help(part), required=must, name=VALUE + at)
        node.is_checkbox = isinstance(part, Flag | Fixed)
        self.nodes[at] = node
        return self._registered(node, _field_class(part), **_look(part, text, required=must))

    def _registered(self, node: Input, field_class: Any, **look: Any) -> Input:
        self.fields[node.name] = field_class(node.label, id=node.id, **look)
        self._inputs.append(node)
        return node


def _id(at: str) -> str:
    """An HTML id for a pointer: letters, digits and _ as they are, `-` between members, others as `.code.`."""
    return "context" + re.sub(r"[^A-Za-z0-9_/]", lambda odd: f".{ord(odd[0]):x}.", at).replace("/", "-")


# How an input looks

_JSON_LOOK = {"rows": 6, "spellcheck": "false", "autocomplete": "off", "class": "json"}
_BROWSER_NUMBER = re.compile(r"-?(\d+(\.\d+)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMATS: Mapping[str, tuple[Any, str]] = {
    "email": (widgets.EmailInput, r"\S*"),
    "uri": (widgets.URLInput, r"\S*"),
    "date": (widgets.DateInput, r"\d{4}-\d\d-\d\d"),
    "date-time": (widgets.DateTimeLocalInput, r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?"),
    "uuid": (widgets.TextInput, r".*"),
}
"""By format the widget, and the texts it can show: a browser's own inputs drop all others, and nothing typed may be lost."""


def _field_class(part: Leaf) -> Any:
    if isinstance(part, Options):
        return SelectField
    return BooleanField if isinstance(part, Flag | Fixed) else StringField


def _look(part: Leaf, text: str, *, required: bool) -> dict[str, Any]:
    if isinstance(part, Options):
        return {"choices": _choices(part, text, required=required), "validate_choice": False}
    if isinstance(part, Free):
        return {"widget": widgets.TextArea(), "render_kw": _JSON_LOOK}
    if isinstance(part, Number):
        return _number_look(part, text)
    return _text_look(part, text) if isinstance(part, Text) else {}


def _choices(part: Options, text: str, *, required: bool) -> list[SelectChoice]:
    known = [SelectChoice(value, label) for value, label in zip(part.texts, part.labels, strict=True)]
    stray = [] if not text or text in part.texts else [SelectChoice(text)]
    return [_none(required=required), *known, *stray]


def _none(*, required: bool) -> SelectChoice:
    return SelectChoice("", "Choose one" if required else "None")


def _number_look(part: Number, text: str) -> dict[str, Any]:
    if text and not _BROWSER_NUMBER.fullmatch(text):
        return {"widget": widgets.TextInput(), "render_kw": {"inputmode": "decimal"}}
    least, most = _range(part)
    limits = {"min": least, "max": most, "step": _step(part, text, least)}
    return {
        "widget": widgets.NumberInput(),
        "render_kw": {key: value for key, value in limits.items() if value is not None},
    }


def _step(part: Number, text: str, least: int | float | None) -> int | float | str:
    """What the browser counts by. It counts from the smallest value, and without one from what stands in the field: counted from a wrong number, the right ones would be refused."""
    plain = 1 if part.whole else "any"
    if least is not None:
        return plain
    step = part.schema.get("multipleOf", plain)
    return step if step == "any" or _is_multiple(text, step) else "any"


def _is_multiple(text: str, step: int | float) -> bool:
    # in decimals, as the text is: 19.99 is a multiple of 0.01
    try:
        return not text or Decimal(text) % Decimal(str(step)) == 0
    except InvalidOperation:
        return False


def _range(part: Number) -> tuple[int | float | None, int | float | None]:
    """The smallest and the largest value, for whole numbers as whole numbers."""
    least, most, over, under = (
        part.schema.get(f"{kind}imum") for kind in ("min", "max", "exclusiveMin", "exclusiveMax")
    )
    if not part.whole:
        return least, most
    lows = [low for low in (least, None if over is None else floor(over) + 1) if low is not None]
    highs = [high for high in (most, None if under is None else ceil(under) - 1) if high is not None]
    return max(map(ceil, lows), default=None), min(map(floor, highs), default=None)


def _text_look(part: Text, text: str) -> dict[str, Any]:
    if is_marked(part.schema) and "\n" not in text:
        return {"widget": widgets.PasswordInput(hide_value=False), "render_kw": _text_attributes(part) | {"autocomplete": "off", "spellcheck": "false"}}
    if "\n" in text or len(text) > _LONG_TEXT or _is_long(part.schema):
        return {"widget": widgets.TextArea(), "render_kw": {"rows": 4}}
    widget, shows = _FORMATS.get(part.format, (widgets.TextInput, ""))
    attributes = _text_attributes(part)
    if text and shows and not re.fullmatch(shows, text, re.ASCII):
        return {"widget": widgets.TextInput(), "render_kw": attributes}
    if isinstance(part, Moment):
        attributes["step"] = 1
    return {"widget": widget(), "render_kw": attributes}


def _text_attributes(part: Text) -> dict[str, Any]:
    # No maxlength: browsers cut what is pasted, without a word. The pattern only where both readings of it agree.
    attributes: dict[str, Any] = {}
    pattern = part.schema.get("pattern")
    if isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$") and "|" not in pattern:
        attributes["pattern"] = pattern[1:-1]
    examples = part.schema.get("examples")
    if isinstance(examples, list) and examples and isinstance(examples[0], str):
        attributes["placeholder"] = examples[0]
    if part.format == "uuid":
        attributes |= {"spellcheck": "false", "autocomplete": "off"}
    return attributes


def _is_long(schema: Schema) -> bool:
    most, media = schema.get("maxLength"), schema.get("contentMediaType")
    is_much = isinstance(most, int) and most > _LONG_TEXT
    return is_much or isinstance(media, str) or schema.get("format") in ("textarea", "markdown", "text")


def _help(part: Leaf) -> str:
    """The description, and in words what the schema wants."""
    return " ".join(text for text in (part.help, _hint(part)) if text)


def _hint(part: Leaf) -> str:
    if isinstance(part, Free):
        return "JSON."
    if isinstance(part, Moment):
        return "UTC, unless it names a zone."
    if isinstance(part, Number):
        return _between(*_range(part), "")
    if isinstance(part, Text):
        return _between(part.schema.get("minLength"), part.schema.get("maxLength"), " characters")
    return ""


def _between(least: int | float | None, most: int | float | None, unit: str) -> str:
    if least is not None and most is not None:
        return f"{least} to {most}{unit}." if least != most else f"Exactly {least}{unit}."
    if most is not None:
        return f"At most {most}{unit}."
    is_plain = least is None or (unit and least <= 1)
    return "" if is_plain else f"At least {least}{unit}."
