"""What `tasker new` writes: files of a new project, workflow, subscriber or handler, as text by their place. Nothing is written here.

The files in `project/` become a project's, with `$name` and the like filled in; code for workflows is put together from their steps.
"""

from __future__ import annotations

from engine.blueprints.code import Shape, handler_files, subscriber_files, workflow_files
from engine.blueprints.names import Names, parse_steps
from engine.blueprints.whole import project_files

__all__ = ["Names", "Shape", "handler_files", "parse_steps", "project_files", "subscriber_files", "workflow_files"]
