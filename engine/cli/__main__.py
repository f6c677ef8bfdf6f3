"""`python -m engine.cli`: the same as `tasker`, for processes that start others."""

from engine.cli import main

main()
