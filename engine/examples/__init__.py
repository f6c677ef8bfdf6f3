"""Workflows that do real work, to look at and to learn from; `tasker demo` runs them all.

- `ecommerce/process_order` 1.0.0 in the class form and 2.0.0 in YAML: a shop with stock, payments, mails and labels.
- `ecommerce/return_goods` 1.0.0 in the decorator form: a map step over the returned articles, and a decision how to settle.
- `accounts/user_registration` 1.0.0 in the decorator form: an HTTP service that is sometimes busy (`services`).
- `compliance/dependency_audit` 1.0.0 in the class form: 32 steps side by side over the packages installed here.
"""

from engine.examples.demo import Expected, demo_requests, prepared

__all__ = ["Expected", "demo_requests", "prepared"]
