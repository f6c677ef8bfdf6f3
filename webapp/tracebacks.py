"""A traceback without the frames of libraries and of Python: what the author of a handler wants to see first."""

from __future__ import annotations

import re

from flask import Flask

FRAME = re.compile(r'^  File "(?P<path>[^"]+)", line \d+')
FOREIGN = re.compile(r"/(site-packages|dist-packages)/|/lib/python3[^/]*/|^<frozen")


def init_app(app: Flask) -> None:
    """Offer templates the filter."""
    app.add_template_filter(own_frames)


def own_frames(traceback: object) -> str:
    """The traceback with foreign frames left out; empty when nothing would be left out, or no frame would be left."""
    lines = str(traceback).splitlines()
    kept, is_foreign, dropped, own = [], False, 0, 0
    for line in lines:
        frame = FRAME.match(line)
        if frame:
            is_foreign = bool(FOREIGN.search(frame["path"]))
            dropped, own = dropped + is_foreign, own + (not is_foreign)
        elif not line.startswith("    "):
            is_foreign = False
        if not is_foreign:
            kept.append(line)
    return "\n".join(kept) if dropped and own else ""
