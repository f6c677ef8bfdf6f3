# `make demo` and `make test` do all of their own set-up: .venv beside this file, from the first Python 3.11+ found.
.PHONY: help demo test faults nightly faults-release bench-web bench-peers screenshots docs sbom versions lint revision lock clean

help:
	@echo "make demo      start the example workflows, engine and dashboard (Ctrl-C stops everything)"
	@echo "make test      run the whole test suite        ARGS='-k retry' narrows it"
	@echo "make faults    every kind of fault, seeded mistakes, a night's load (an hour)"
	@echo "make nightly   the other long runs: damaged input, twenty thousand requests to the API, other clusters"
	@echo "make faults-release   what only a release needs beside them"
	@echo "make bench-web  how fast the pages are with a million steps and a busy engine (some minutes, 3 GB)"
	@echo "make bench-peers  the same workflows on other engines, side by side (an hour or two; ARGS='--only dbos --quick' narrows it)"
	@echo "make screenshots  take the pictures of docs/dashboard.md anew; ARGS=FOLDER takes every page in every size there"
	@echo "make docs      build the documentation as a site into build/docs"
	@echo "make sbom      write what an installation consists of into build/sbom.cdx.json (CycloneDX)"
	@echo "make versions  the wheel on every Python and PostgreSQL that this machine has (some minutes)"
	@echo "make lint      ruff, mypy --strict, import contracts"
	@echo "make revision NAME=what_changes   freeze sql/ into a migration"
	@echo "make lock      renew the lock files (needs uv)"
	@echo "make clean     remove .venv and caches"

demo:
	@sh .ci/python .ci/environment.py requirements.lock
	@mkdir -p .tasker
	@exec .venv/bin/tasker demo $(ARGS)

test:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@exec .venv/bin/python .ci/tests.py $(ARGS)

# one after the other: they judge times, and want the machine to themselves
faults:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@exec .venv/bin/python -m pytest -m nightly tests/faults -s $(ARGS)

nightly:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@exec .venv/bin/python -m pytest -n 2 -m nightly tests/fuzz tests/sql tests/stories tests/engine tests/docs tests/webapp tests/browser $(ARGS)

faults-release:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@exec .venv/bin/python -m pytest -m release tests/faults -s $(ARGS)

bench-web:
	@sh .ci/python .ci/environment.py requirements.lock
	@exec .venv/bin/python -m engine.bench.pages

bench-peers:
	@sh .ci/python .ci/environment.py requirements.lock
	@exec .venv/bin/python -m benchmarks.run $(ARGS)

screenshots:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@.venv/bin/python .ci/screenshots.py $(ARGS)

docs:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@.venv/bin/python -m sphinx -q -E -a -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

sbom:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@.venv/bin/python .ci/sbom.py build/sbom.cdx.json

versions:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	@.venv/bin/python .ci/versions.py $(ARGS)

lint:
	@sh .ci/python .ci/environment.py requirements-dev.lock
	.venv/bin/ruff check .
	.venv/bin/mypy --strict engine webapp
	.venv/bin/mypy --strict tests/samples/typed_shop
	.venv/bin/lint-imports

revision:
	@sh .ci/python .ci/environment.py requirements.lock
	@.venv/bin/python .ci/freeze.py $(NAME)

COMPILE = uv pip compile -q pyproject.toml --group build --universal --generate-hashes --no-annotate --no-header

lock:
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	uv pip compile -q --group pyproject.toml:installer --universal --generate-hashes --no-annotate --no-header -o requirements-installer.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
