"""The launch form as a browser without scripts sees it: rendered by Jinja, filled in, sent, read back."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader
from werkzeug.datastructures import MultiDict

from engine import schemas
from webapp import form_parts, forms
from webapp.form_schema import part_of
from webapp.forms import LaunchForm, launch_form

TEMPLATES = Path(forms.__file__).parent / "templates"
PAGE = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).from_string(
    '{% from "launches/_field.html" import fields %}<form>{{ fields(form) }}</form>'
)

# A browser, as far as forms go


def unless(pattern: str) -> Any:
    """What a browser makes of a value that its input cannot hold: nothing."""
    return lambda text: text if re.fullmatch(pattern, text, re.ASCII) else ""


SANITIZED: dict[str, Any] = {
    "number": unless(r"-?(\d+(\.\d+)?|\.\d+)([eE][+-]?\d+)?"),
    "date": unless(r"\d{4}-\d\d-\d\d"),
    "datetime-local": lambda text: re.sub(
        r"(T\d\d:\d\d):00$", r"\1", unless(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")(text)
    ),
    "text": lambda text: re.sub(r"[\r\n]", "", text),
    "email": lambda text: re.sub(r"[\r\n]", "", text).strip(),
    "url": lambda text: re.sub(r"[\r\n]", "", text).strip(),
}


class Page(HTMLParser):
    """The controls, labels and ids of a rendered form."""

    def __init__(self, form: LaunchForm) -> None:
        super().__init__()
        self.data: MultiDict[str, str] = MultiDict()
        self.controls: dict[str, dict[str, str]] = {}
        self.buttons: list[str] = []
        self.ids: list[str] = []
        self.labels: dict[str, str] = {}
        self.options: dict[str, list[str]] = {}
        self._inside: dict[str, str] = {}
        self.html = PAGE.render(form=form)
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag in ("input", "select", "textarea"):
            self.controls[given["name"]] = {"tag": tag, **given}
        if tag == "input":
            self._input(given)
        if tag == "button" and "name" in given:
            self.buttons.append(given["name"])
        if tag in ("select", "textarea", "label", "option"):
            self._inside = {**self._inside, "tag": tag, "text": "", **({} if tag == "option" else given)}
        if tag == "option":
            self._option(given)

    def _input(self, given: dict[str, str]) -> None:
        if given["type"] != "checkbox" or "checked" in given:
            self.data[given["name"]] = SANITIZED.get(given["type"], str)(given["value"])

    def _option(self, given: dict[str, str]) -> None:
        name = self._inside["name"]
        self.options.setdefault(name, []).append(given["value"])
        if "selected" in given or name not in self.data:
            self.data[name] = given["value"]

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._inside["text"] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            text = self._inside["text"].replace("\r\n", "\n").replace("\r", "\n")
            self.data[self._inside["name"]] = text.removeprefix("\n").replace("\n", "\r\n")
        if tag == "label":
            self.labels[self._inside["for"]] = self._inside["text"]
        if tag in ("textarea", "label", "select"):
            self._inside = {}


def sent(schema: Any, form: LaunchForm, press: str | None = None, **changes: str | None) -> LaunchForm:
    """The form after a browser sent it, with some fields changed (None: unticked) and perhaps a button pressed.

    A field is named by its pointer without the first slash: `sent(..., **{"address/street": "Elm"})`.
    """
    data = Page(form).data
    for pointer, text in changes.items():
        name = pointer if pointer.startswith("_") else f"context/{pointer}"
        data.pop(name, None) if text is None else data.setlist(name, [text])
    if press:
        assert press in Page(form).buttons
        data[press] = "1"
    return launch_form(schema, data)


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def entered(schema: Any, **fields: str | None) -> dict[str, Any]:
    """The context after these fields were filled in on a fresh form."""
    return sent(schema, launch_form(schema), **fields).context()


def errors_of(schema: Any, **fields: str | None) -> dict[str, str]:
    form = sent(schema, launch_form(schema), **fields)
    form.validate()
    return {error.id: error.message for error in form.errors}


def control(schema: Any, pointer: str, initial: dict[str, Any] | None = None) -> dict[str, str]:
    return Page(launch_form(schema, initial=initial)).controls[f"context/{pointer}"]


# Kinds of fields


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "email"}, "email"),
        ({"type": "string", "format": "uri"}, "url"),
        ({"type": "string", "format": "uuid"}, "text"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "datetime-local"),
        ({"type": "integer"}, "number"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "checkbox"),
    ],
)
def test_each_type_and_format_has_its_input(schema: dict[str, Any], kind: str) -> None:
    assert control(of(field=schema), "field")["type"] == kind


@pytest.mark.parametrize(
    ("schema", "tag"),
    [
        ({"type": "string", "maxLength": 2000}, "textarea"),
        ({"type": "object"}, "textarea"),
        ({}, "textarea"),
        ({"type": ["string", "integer"]}, "textarea"),
        ({"type": "array"}, "textarea"),
        ({"type": "array", "prefixItems": [{}], "items": {}}, "textarea"),
        ({"enum": ["a", "b"]}, "select"),
        ({"type": ["boolean", "null"]}, "select"),
        ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2, "title": "Two"}]}, "select"),
    ],
)
def test_what_is_long_free_or_a_choice_has_a_text_area_or_a_select(schema: dict[str, Any], tag: str) -> None:
    assert control(of(field=schema), "field")["tag"] == tag


def test_bounds_and_steps_reach_the_browser() -> None:
    inside = control(of(n={"type": "integer", "exclusiveMinimum": 0, "maximum": 9.5}), "n")
    assert (inside["min"], inside["max"], inside["step"]) == ("1", "9", "1")
    assert control(of(n={"type": "number"}), "n")["step"] == "any"
    assert control(of(n={"type": "number", "multipleOf": 0.5}), "n")["step"] == "0.5"


def test_a_wrong_number_in_a_field_does_not_make_the_browser_refuse_the_right_ones() -> None:
    """Without a smallest value a browser counts its steps from what stands in the field."""

    def steps(part: dict[str, Any], *texts: str) -> list[str]:
        return [Page(sent(of(n=part), launch_form(of(n=part)), n=text)).controls["context/n"]["step"] for text in texts]

    assert steps({"type": "number", "multipleOf": 0.01}, "19.99", "0.07", "19.995", "") == ["0.01", "0.01", "any", "0.01"]
    assert steps({"type": "integer"}, "7", "1.5", "1e30") == ["1", "any", "any"]
    assert steps({"type": "integer", "minimum": 0}, "7", "1.5") == ["1", "1"]
    assert control(of(s={"type": "string", "pattern": "^[a-z]+$"}), "s")["pattern"] == "[a-z]+"


def test_without_a_schema_the_context_is_json_text() -> None:
    for schema in (None, {}, {"type": "object"}):
        assert Page(launch_form(schema)).data["context"] == "{}"
        assert sent(schema, launch_form(schema, initial={"a": [1, 2]})).context() == {"a": [1, 2]}


# From texts to values


def test_texts_become_values_of_their_type() -> None:
    schema = of(
        s={"type": "string"}, i={"type": "integer"}, x={"type": "number"}, b={"type": "boolean"}, e={"enum": [1, "two"]}
    )
    assert entered(schema, s=" a ", i="7", x="1.5", b="y", e="1") == {"s": " a ", "i": 7, "x": 1.5, "b": True, "e": 1}


def test_empty_optional_fields_are_absent() -> None:
    schema = of(
        s={"type": "string"}, i={"type": "integer"}, b={"type": "boolean"}, e={"enum": [1]}, o=of(a={"type": "string"}),
        rows={"type": "array", "items": {"type": "string"}}, j={"type": "object"}, k={"const": 1},
    )  # fmt: skip
    assert entered(schema) == {}


def test_an_optional_object_is_absent_until_something_is_entered_in_it() -> None:
    inner = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string"}, "n": {"type": "integer", "default": 3}},
    }
    assert entered(of(o=inner)) == {}
    assert entered(of(o=inner), **{"o/a": "x"}) == {"o": {"a": "x", "n": 3}}


def test_a_required_object_and_array_are_there_even_when_empty() -> None:
    schema = {
        **of(o=of(a={"type": "string"}), r={"type": "array", "items": {"type": "string"}}),
        "required": ["o", "r"],
    }
    assert entered(schema) == {"o": {}, "r": []}


def test_a_date_time_without_zone_is_utc() -> None:
    schema = of(at={"type": "string", "format": "date-time"})
    assert entered(schema, at="2030-01-31T08:00") == {"at": "2030-01-31T08:00:00Z"}
    assert entered(schema, at="2030-01-31 08:00:05") == {"at": "2030-01-31T08:00:05Z"}
    assert entered(schema, at="2030-01-31T08:00:00+02:00") == {"at": "2030-01-31T08:00:00+02:00"}


def test_large_integers_keep_all_their_digits() -> None:
    schema = of(n={"type": "integer"})
    assert sent(schema, launch_form(schema, initial={"n": 9007199254740993})).context() == {"n": 9007199254740993}
    assert entered(schema, n="123456789012345678901234567890") == {"n": 123456789012345678901234567890}


def test_line_ends_are_as_typed() -> None:
    assert entered(of(s={"type": "string", "maxLength": 999}), s="a\r\nb") == {"s": "a\nb"}


def test_nullable_fields_left_blank_are_null_where_there_must_be_a_value() -> None:
    kinds: dict[str, Any] = {
        "s": {"type": ["string", "null"]},
        "i": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "b": {"type": ["boolean", "null"]},
        "e": {"enum": ["a", None]},
        "o": {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
    }
    assert entered({**of(**kinds), "required": list(kinds)}) == dict.fromkeys(kinds)
    assert entered(of(**kinds)) == {}


def test_a_constant_is_given_without_asking() -> None:
    assert entered({**of(kind={"const": "card"}), "required": ["kind"]}) == {"kind": "card"}


def test_an_unticked_box_is_false_where_a_value_or_a_default_is_declared() -> None:
    schema = {**of(must={"type": "boolean"}, on={"type": "boolean", "default": True}), "required": ["must"]}
    assert entered(schema) == {"must": False, "on": True}
    assert entered(schema, on=None) == {"must": False, "on": False}


# Prefilling


def test_defaults_are_filled_in() -> None:
    schema = of(
        n={"type": "integer", "default": 5}, r={"type": "array", "items": {"type": "string"}, "default": ["a", "b"]}
    )
    assert entered(schema) == {"n": 5, "r": ["a", "b"]}


def test_what_is_given_wins_over_defaults() -> None:
    schema = of(n={"type": "integer", "default": 5}, s={"type": "string", "default": "x"})
    assert sent(schema, launch_form(schema, initial={"n": 6})).context() == {"n": 6, "s": "x"}


def test_explicit_empty_values_are_kept() -> None:
    schema = of(
        s={"type": "string"}, b={"type": "boolean"}, z={"type": ["string", "null"]}, r={"type": "array", "items": {"type": "string"}},
        o=of(a={"type": "string"}),
    )  # fmt: skip
    context: dict[str, Any] = {"s": "", "b": False, "z": None, "r": [], "o": {}}
    assert sent(schema, launch_form(schema, initial=context)).context() == context


def test_members_the_schema_does_not_name_are_kept() -> None:
    context = {"a": "x", "other": [1, {"b": 2}]}
    assert sent(of(a={"type": "string"}), launch_form(of(a={"type": "string"}), initial=context)).context() == context


def test_a_value_of_another_type_is_kept_as_json() -> None:
    schema = of(n={"type": "integer"}, rows={"type": "array", "items": {"type": "string"}})
    context = {"n": "seven", "rows": {"not": "rows"}}
    assert sent(schema, launch_form(schema, initial=context)).context() == context


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer"}, "12x"),
        ({"type": "number"}, "1,5"),
        ({"type": "string", "format": "date"}, "tomorrow"),
        ({"type": "string", "format": "date-time"}, "31.1.2030"),
        ({"type": "string", "format": "email"}, "a b"),
        ({"enum": ["a"]}, "z"),
        ({"type": "object"}, '{"a": '),
    ],
)
def test_what_cannot_be_accepted_is_shown_again_as_typed(schema: dict[str, Any], text: str) -> None:
    form = sent(of(field=schema), launch_form(of(field=schema)), field=text)
    assert not form.validate()
    assert Page(form).data["context/field"] == text


# Rows


NAMES = of(names={"type": "array", "items": {"type": "string"}})
LINES = of(
    lines={
        "type": "array",
        "items": {**of(sku={"type": "string"}, count={"type": "integer", "default": 1}), "required": ["sku"]},
    }
)


def test_a_row_is_added_without_script_and_keeps_what_was_entered() -> None:
    form = sent(NAMES, launch_form(NAMES), press="_add:/names")
    form = sent(NAMES, form, press="_add:/names", **{"names/0": "Ada"})
    assert form.changed
    assert sent(NAMES, form, **{"names/1": "Bob"}).context() == {"names": ["Ada", "Bob"]}


def test_a_row_is_removed_from_the_middle() -> None:
    form = launch_form(NAMES, initial={"names": ["a", "b", "c"]})
    assert sent(NAMES, form, press="_remove:/names:1").context() == {"names": ["a", "c"]}


def test_removing_a_row_moves_everything_inside_the_rows_behind_it() -> None:
    schema = of(
        groups={
            "type": "array",
            "items": of(names={"type": "array", "items": {"type": "string"}}, on={"type": "boolean"}),
        }
    )
    groups: list[Any] = [{"names": ["a"]}, {"names": ["b", "c"], "on": False}, {"names": ["d"], "on": True}]
    form = launch_form(schema, initial={"groups": groups})
    assert sent(schema, form, press="_remove:/groups:0").context() == {"groups": groups[1:]}


def test_a_new_row_of_an_object_has_its_defaults_and_counts_even_when_nothing_is_entered() -> None:
    form = sent(LINES, launch_form(LINES), press="_add:/lines")
    assert form.context() == {"lines": [{"count": 1}]}


def test_a_blank_row_of_one_field_does_not_count() -> None:
    form = sent(NAMES, sent(NAMES, launch_form(NAMES), press="_add:/names"), press="_add:/names")
    assert sent(NAMES, form, **{"names/1": "Bob"}).context() == {"names": ["Bob"]}


def test_an_error_behind_a_blank_row_stands_at_its_own_row() -> None:
    schema = of(names={"type": "array", "items": {"type": "string", "minLength": 3}})
    form = launch_form(schema, initial={"names": ["abc", "x"]})
    form = sent(schema, form, **{"names/0": ""})
    assert not form.validate()
    assert [error.id for error in form.errors] == ["context-names-1"]


def test_a_required_array_starts_with_its_least_number_of_rows() -> None:
    schema = {**of(names={"type": "array", "minItems": 2, "items": {"type": "string"}}), "required": ["names"]}
    assert Page(launch_form(schema)).data["_rows:/names"] == "2"


def test_buttons_that_this_form_does_not_have_do_nothing() -> None:
    data = MultiDict(
        {
            "_add:/nothing": "1",
            "_remove:/names:7": "1",
            "_remove:/names:x": "1",
            "_rows:/names": "1",
            "context/names/0": "a",
        }
    )
    assert launch_form(NAMES, data).context() == {"names": ["a"]}


# Variants


CARD = {
    **of(kind={"const": "card"}, number={"type": "string", "pattern": "^[0-9]+$"}),
    "title": "Card",
    "required": ["kind", "number"],
}
INVOICE = {
    **of(kind={"const": "invoice"}, days={"type": "integer", "minimum": 1}),
    "title": "Invoice",
    "required": ["kind", "days"],
}
PAYMENT = {**of(payment={"oneOf": [CARD, INVOICE]}), "required": ["payment"]}


def test_a_variant_is_chosen_by_its_title() -> None:
    form = launch_form(PAYMENT)
    assert Page(form).options["_variant:/payment"] == ["", "Card", "Invoice"]
    form = sent(PAYMENT, form, press="_choose:/payment", **{"_variant:/payment": "Invoice"})
    assert form.changed
    assert sent(PAYMENT, form, **{"payment/days": "30"}).context() == {"payment": {"kind": "invoice", "days": 30}}


def test_another_variant_without_pressing_choose_shows_its_fields_first() -> None:
    form = sent(PAYMENT, launch_form(PAYMENT), **{"_variant:/payment": "Invoice"})
    assert form.changed
    assert "context/payment/days" in Page(form).controls
    assert not sent(PAYMENT, form, **{"payment/days": "30"}).changed


def test_what_was_entered_in_a_variant_is_there_again_when_it_is_chosen_again() -> None:
    form = sent(PAYMENT, launch_form(PAYMENT), **{"payment/number": "42", "_variant:/payment": "Invoice"})
    assert form.context() == {"payment": {"kind": "invoice"}}
    form = sent(PAYMENT, form, **{"_variant:/payment": "Card"})
    assert form.context() == {"payment": {"kind": "card", "number": "42"}}


def test_an_optional_choice_may_be_left_open() -> None:
    schema = of(payment={"oneOf": [CARD, INVOICE]})
    assert entered(schema) == {}
    assert sent(schema, launch_form(schema)).validate()


def test_the_variant_of_a_given_value_is_the_one_that_accepts_it() -> None:
    context = {"payment": {"kind": "invoice", "days": 30}}
    assert Page(launch_form(PAYMENT, initial=context)).data["_variant:/payment"] == "Invoice"


def test_errors_inside_a_variant_stand_at_its_fields() -> None:
    assert errors_of(PAYMENT, **{"payment/number": "x"}).keys() == {"context-payment-number"}
    assert errors_of(PAYMENT) == {"context-payment-number": "Is required"}


def test_variants_without_title_are_told_by_discriminator_or_reference() -> None:
    schema = {
        **of(
            shape={
                "anyOf": [
                    of(kind={"const": "circle"}, r={"type": "number"}),
                    {"$ref": "#/$defs/Square"},
                    {"type": "string"},
                ]
            }
        ),
        "$defs": {"Square": of(a={"type": "number"})},
    }
    assert Page(launch_form(schema)).options["_variant:/shape"] == ["", "circle", "Square", "String"]


def test_a_choice_of_what_is_required_adds_no_fields() -> None:
    schema = {**of(a={"type": "string"}, b={"type": "string"}), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    form = sent(schema, launch_form(schema))
    assert not form.validate()
    assert len(form.form_errors) == 1
    assert sent(schema, form, b="x").validate()


# References


def test_references_inside_the_schema_are_followed() -> None:
    schema = {**of(home={"$ref": "#/$defs/address"}), "$defs": {"address": of(street={"type": "string"})}}
    assert entered(schema, **{"home/street": "Elm"}) == {"home": {"street": "Elm"}}


def test_a_loop_ends_in_json_text() -> None:
    schema = {
        **of(tree={"$ref": "#/$defs/node"}),
        "$defs": {"node": of(name={"type": "string"}, next={"$ref": "#/$defs/node"})},
    }
    assert control(schema, "tree/next")["tag"] == "textarea"
    context = {"tree": {"name": "a", "next": {"name": "b", "next": {"name": "c"}}}}
    assert sent(schema, launch_form(schema, initial=context)).context() == context


def test_parts_of_all_of_are_laid_together() -> None:
    schema = {"allOf": [{**of(a={"type": "string"}), "required": ["a"]}, of(b={"type": "integer"})]}
    assert entered(schema, a="x", b="1") == {"a": "x", "b": 1}


# Errors


def test_every_error_stands_at_its_field() -> None:
    schema = {
        **of(
            must={"type": "string"}, low={"type": "integer", "minimum": 5}, word={"type": "integer"},
            o={**of(deep={"type": "string", "maxLength": 2}), "required": ["deep"]}, free={"type": "object", "required": ["x"]},
        ),
        "required": ["must", "o"],
    }  # fmt: skip
    found = errors_of(schema, low="1", word="abc", free="{}", **{"o/deep": "long"})
    assert found.keys() == {"context-must", "context-low", "context-word", "context-o-deep", "context-free"}
    assert found["context-word"] == "Is not a whole number"
    assert found["context-free"] == "x: is required"


def test_errors_without_a_field_stand_at_the_form() -> None:
    schema = {**of(a={"type": "integer"}, b={"type": "integer"}), "minProperties": 2}
    form = sent(schema, launch_form(schema), a="1")
    assert not form.validate()
    assert not form.errors
    assert "minProperties" in form.form_errors[0] or "properties" in form.form_errors[0]


def test_a_context_that_is_no_object_is_refused() -> None:
    form = launch_form(None, MultiDict({"context": "[1]"}))
    assert not form.validate()
    assert form.errors[0].message == "Must be a JSON object"


@pytest.mark.parametrize(("text", "objection"), [('{"seconds": 1, "extra": 12345678901234567890}', "'12345678901234567890' does not fit in 64 bits"), ('{"seconds": ', "Expecting value at line 1, column 13")])
def test_of_json_that_cannot_be_read_nothing_else_is_said(text: str, objection: str) -> None:
    form = launch_form(of(seconds={"type": "integer"}), MultiDict({"context": text}))
    assert not form.validate()
    assert [error.message for error in form.errors] + form.form_errors == [objection]


def test_duplicate_keys_in_json_text_are_refused() -> None:
    assert "occurs more than once" in errors_of(of(j={"type": "object"}), j='{"a": 1, "a": 2}')["context-j"]


def test_what_validates_is_what_the_engine_takes() -> None:
    form = sent(LINES, launch_form(LINES, initial={"lines": [{"sku": "a"}]}))
    assert form.validate()
    assert schemas.ContextSchema(LINES).problems(form.context()) == []


# The page


EVERYTHING = {
    **of(
        order={"type": "integer", "title": "Order number", "description": "As printed."}, on={"type": "boolean"},
        names={"type": "array", "items": {"type": "string"}, "description": "Who."}, payment={"oneOf": [CARD, INVOICE]},
        **{"odd key/~ü": {"type": "string"}, "odd.key": {"type": "string"}}, more={"type": "object"},
        address={**of(street={"type": "string"}), "description": "Where.", "additionalProperties": True},
    ),
    "required": ["order", "payment"],
}  # fmt: skip
FULL = {
    "order": 1,
    "names": ["a", "b"],
    "payment": {"kind": "card", "number": "1"},
    "odd key/~ü": "x",
    "address": {"street": "y"},
}


def test_every_control_has_a_label_and_every_reference_an_id() -> None:
    form = sent(EVERYTHING, launch_form(EVERYTHING, initial=FULL), order="x")
    form.validate()
    page = Page(form)
    visible = [known for known in page.controls.values() if known.get("type") != "hidden"]
    assert all(known["id"] in page.labels for known in visible)
    referred = {one for text in re.findall(r'aria-describedby="([^"]*)"', page.html) for one in text.split()}
    assert referred <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_title_description_and_need_are_told_in_words() -> None:
    page = Page(launch_form(EVERYTHING))
    order = page.controls["context/order"]
    assert page.labels[order["id"]] == "Order number"
    assert order["aria-required"] == "true"
    assert "As printed." in page.html
    assert '<span class="field-required">required</span>' in page.html


def test_an_invalid_field_says_so_to_screen_readers() -> None:
    form = sent(EVERYTHING, launch_form(EVERYTHING), order="x")
    form.validate()
    order = Page(form).controls["context/order"]
    assert order["aria-invalid"] == "true"
    assert "context-order.error" in order["aria-describedby"]


def test_buttons_are_named_by_their_verb_and_the_first_one_only_sends() -> None:
    page = Page(launch_form(EVERYTHING, initial=FULL))
    assert page.buttons == ["_remove:/names:0", "_remove:/names:1", "_add:/names", "_choose:/payment"]
    assert page.html.index('<button type="submit" hidden>') < page.html.index("<input")
    assert re.findall(r">(\w+)</button>", page.html) == ["Remove", "Remove", "Add", "Choose"]


def test_markup_in_a_schema_or_a_value_is_text() -> None:
    schema = of(a={"type": "string", "title": "<b>", "description": "<script>"})
    html = Page(launch_form(schema, initial={"a": '"><img>'})).html
    assert not any(tag in html for tag in ("<b>", "<script>", "<img>"))


# Limits


def test_a_schema_with_too_many_fields_is_asked_for_as_json() -> None:
    schema = of(**{f"f{no}": {"type": "string"} for no in range(form_parts.MAX_FIELDS + 1)})
    assert list(Page(launch_form(schema)).controls) == ["context"]


def test_a_schema_that_grows_by_references_is_asked_for_as_json() -> None:
    doubling = {f"d{no}": of(a={"$ref": f"#/$defs/d{no + 1}"}, b={"$ref": f"#/$defs/d{no + 1}"}) for no in range(40)}
    schema = {**of(a={"$ref": "#/$defs/d0"}), "$defs": {**doubling, "d40": {"type": "string"}}}
    assert len(Page(launch_form(schema)).controls) <= form_parts.MAX_FIELDS


def test_a_context_with_too_many_rows_is_asked_for_as_json() -> None:
    context = {"names": ["x"] * (form_parts.MAX_FIELDS + 1)}
    form = launch_form(NAMES, initial=context)
    assert len(Page(form).controls) == 2
    assert sent(NAMES, form).context() == context


def test_a_claim_of_endless_rows_is_cut() -> None:
    form = launch_form(NAMES, MultiDict({"_rows:/names": "999999999"}))
    assert form.context() == {}


def test_below_eight_levels_a_part_is_json() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(12):
        schema = of(x=schema)
    assert control(schema, "/".join("x" * 8))["tag"] == "textarea"


# Null is an answer of its own


@pytest.mark.parametrize(("kind", "default"), [("boolean", True), ("boolean", False), ("string", "x"), ("integer", 7), ("number", 0)])
def test_null_that_is_chosen_is_not_replaced_by_the_default(kind: str, default: Any) -> None:
    for required in ([], ["a"]):
        schema = of(a={"type": [kind, "null"], "default": default}) | {"required": required}
        assert entered(schema) == {"a": default}
        assert entered(schema, a="") == {"a": None}


def test_null_that_is_chosen_among_values_or_variants_is_not_replaced_by_the_default() -> None:
    assert entered(of(a={"enum": ["x", "y", None], "type": ["string", "null"], "default": "y"}), a="") == {"a": None}
    variants = {"anyOf": [{"oneOf": [of(b={"type": "string"}), {"type": "integer"}]}, {"type": "null"}], "default": 7}
    assert entered(of(a=variants)) == {"a": 7}
    assert entered(of(a=variants), **{"_variant:/a": ""}) == {"a": None}


def test_an_object_or_a_list_emptied_of_its_default_is_null_where_it_may_be() -> None:
    for nullable in (True, False):
        kinds: Any = ["object", "null"] if nullable else "object"
        schema = of(a={**of(b={"type": "string"}), "type": kinds, "default": {"b": "x"}})
        assert entered(schema) == {"a": {"b": "x"}}
        assert entered(schema, **{"a/b": ""}) == {"a": None if nullable else {}}
        assert entered(schema, **{"a/b": "y"}) == {"a": {"b": "y"}}
    names = of(a={"type": ["array", "null"], "items": {"type": "string"}, "default": ["x"]})
    assert sent(names, sent(names, launch_form(names), press="_remove:/a:0")).context() == {"a": None}
    assert entered(of(a={"type": ["array", "null"], "items": {"type": "string"}, "default": []})) == {"a": []}


# Everything that can be stored can be launched again from the form


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
JSON = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
NAMES_OF_MEMBERS = st.sampled_from(["a", "b", "order_id", "a b", "x/y", "~", "0", ""]) | TEXTS


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values the schema accepts, often."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema:
        return st.one_of([fitting(branch) for branch in schema["oneOf"]])
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    null = st.none() if isinstance(kinds, list) else st.nothing()
    return null | {"object": members, "array": items}.get(str(kind), scalar)(schema)


def scalar(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    kinds = {"string": TEXTS, "integer": st.integers(-(2**63) + 1, 2**63 - 1), "boolean": st.booleans()}
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return kinds.get(
        str(schema.get("type", ["?"])[0] if isinstance(schema.get("type"), list) else schema.get("type")), numbers
    )


def items(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.lists(fitting(schema["items"]), max_size=3)


def members(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    parts = {name: fitting(part) for name, part in schema["properties"].items()}
    required = {name: part for name, part in parts.items() if name in schema.get("required", ())}
    return st.fixed_dictionaries(
        required, optional={name: part for name, part in parts.items() if name not in required}
    )


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES_OF_MEMBERS, inner, min_size=1, max_size=4).flatmap(
        lambda parts: st.builds(
            lambda required: {"type": "object", "properties": parts, "required": sorted(required)},
            st.sets(st.sampled_from(sorted(parts))),
        )
    )


LEAVES = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind}),
    st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": [kind, "null"]}),
    st.lists(SCALARS | TEXTS, min_size=1, max_size=4, unique_by=lambda value: json.dumps(value)).map(
        lambda values: {"enum": values}
    ),
    JSON.map(lambda value: {"const": value}),
    st.fixed_dictionaries({"type": st.just("string"), "default": TEXTS}),
    st.fixed_dictionaries({"type": st.just("integer"), "default": st.integers(0, 9)}),
    st.fixed_dictionaries({"type": st.just("boolean"), "default": st.booleans()}),
    st.sampled_from(["string", "integer", "boolean"]).flatmap(lambda kind: nullable_with_default({"type": kind})),
)


def nullable_with_default(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same part where it may be null, with each kind of default."""
    return fitting(schema | {"type": [schema["type"], "null"]}).map(lambda default: schema | {"type": [schema["type"], "null"], "default": default})


PARTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        inner.map(lambda item: {"type": "array", "items": item}),
        objects(inner).flatmap(nullable_with_default),
        inner.flatmap(lambda item: nullable_with_default({"type": "array", "items": item})),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"oneOf": branches}),
    ),
    max_leaves=8,
)
SCHEMAS = objects(PARTS)


CHOICE_IN_CHOICE = {"oneOf": [{"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}, {"type": "null"}]}, {"type": "integer"}]}


def test_a_choice_within_a_choice_offers_all_its_answers_at_one_place() -> None:
    schema = of(b=CHOICE_IN_CHOICE)
    choice: Any = part_of(schema).parts["b"]  # type: ignore[attr-defined]
    assert list(choice.variants) == ["Array", "String", "Null", "Integer"]
    for value in (["x"], "x", 7, None):
        assert again(schema, {"b": value}) == {"b": value}


def again(schema: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """The context after it went through the form twice, as if a row's button had been pressed in between."""
    return sent(schema, sent(schema, launch_form(schema, initial=context))).context()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pair=SCHEMAS.flatmap(lambda schema: st.tuples(st.just(schema), fitting(schema))))
@example(({"type": "object", "properties": {"a": {"enum": ["1", 1, "", None]}}}, {"a": ""}))
@example(({"type": "object", "properties": {"a": {"type": "number"}}}, {"a": 1e22}))
@example(({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": "\n x \r\n"}))
def test_a_context_goes_through_its_form_unchanged(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    schema, context = pair
    assert form_parts.same(again(schema, context), schemas.ContextSchema(schema).with_defaults(context))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, context=st.dictionaries(NAMES_OF_MEMBERS, JSON, max_size=4))
@example({"type": "object", "properties": {"b": {"type": "object", "properties": {"b": CHOICE_IN_CHOICE}, "required": ["b"]}}}, {})
def test_even_a_context_that_does_not_fit_goes_through_unchanged(
    schema: dict[str, Any], context: dict[str, Any]
) -> None:
    assert form_parts.same(again(schema, context), schemas.ContextSchema(schema).with_defaults(context))


KINDS_OF_NAMES = [
    "context",
    "_rows:",
    "_given:",
    "_variant:",
    "_shown:",
    "_more:",
    "_json:",
    "_add:",
    "_remove:",
    "_choose:",
]
POINTERS = [
    "",
    "/",
    "/names",
    "/names/0",
    "/names/01",
    "/names/9" * 3,
    "/payment",
    "/payment/kind",
    "/address",
    "/more",
    "/on",
    "/names:0",
]
SENT_NAMES = st.builds("".join, st.tuples(st.sampled_from(KINDS_OF_NAMES), st.sampled_from(POINTERS) | TEXTS))
SENT_TEXTS = st.sampled_from(["", "1", "2", "-1", "null", "[]", "{}", '""', "false", "Card", "9" * 5000, "{"]) | TEXTS


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.dictionaries(SENT_NAMES, SENT_TEXTS, max_size=12))
def test_whatever_is_sent_a_form_comes_back(data: dict[str, str]) -> None:
    form = launch_form(EVERYTHING, MultiDict(data))
    form.validate()
    assert isinstance(form.context(), dict)
    assert PAGE.render(form=form)
