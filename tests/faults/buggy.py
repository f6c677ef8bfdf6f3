"""Runs `tasker` with a mistake in it: `python buggy.py NAME engine ...`. The name is one of bugs.PATCHES."""

import sys

import bugs

from engine.cli import main

if __name__ == "__main__":
    bugs.PATCHES[sys.argv.pop(1)]()
    main()
