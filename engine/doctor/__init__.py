"""What `tasker doctor` looks at: each check says how something is, and what to do where it is not as it should be. Nothing is changed."""

from __future__ import annotations

from engine.doctor.checks import STATES, Check, Surroundings
from engine.doctor.health import health_checks
from engine.doctor.security import security_checks

__all__ = ["STATES", "Check", "Surroundings", "health_checks", "security_checks"]
