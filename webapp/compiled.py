"""Compiled templates are kept from one start of the dashboard to the next, so that the first visit of a page costs what every visit costs."""

from __future__ import annotations

import hashlib
import logging
import tempfile

from flask import Flask
from jinja2 import FileSystemBytecodeCache

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """A folder of this user's own in the system's temporary one holds them; where there can be none that is safe, they are compiled anew.

    Call it when the environment is set up: what was compiled under other options is not taken.
    """
    environment = app.jinja_env
    options = (environment.trim_blocks, environment.lstrip_blocks, environment.undefined.__name__, sorted(environment.extensions))
    digest = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
    try:
        environment.bytecode_cache = FileSystemBytecodeCache(pattern=f"__jinja2_tasker_{digest}_%s.cache")
    except (RuntimeError, OSError) as error:
        log.debug("templates are compiled anew: %s, in %s", error, tempfile.gettempdir())
