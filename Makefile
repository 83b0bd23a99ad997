# `make run` and `make test` need nothing but python3 (3.11 or newer) and make.
PYTHON ?= python3
RUN = @$(PYTHON) scripts/bootstrap.py run && exec .venv/bin/python
DEV = @$(PYTHON) scripts/bootstrap.py dev && exec .venv/bin/python

.PHONY: help run dev test lint types e2e bench chaos ci clean

help: ## list these words
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: ## serve on http://127.0.0.1:8000 (PORT, HOST, SERVER=daphne|uvicorn)
	$(RUN) manage.py serve

dev: ## serve with reload on every change of the code
	$(DEV) manage.py serve --prepare
	@exec .venv/bin/python manage.py runserver "$${HOST:-127.0.0.1}:$${PORT:-8000}"

# Two lanes: tests/conftest.py says what runs beside what.
LANES ?= --numprocesses 2 --dist loadscope --no-loadscope-reorder

test: ## the whole suite (PYTEST_ARGS="-k resume -x", LANES= for one test at a time)
	$(DEV) -m pytest $(LANES) $(PYTEST_ARGS)

lint: ## ruff, its formatter and the import contracts
	$(DEV) -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/lint-imports

types: ## mypy --strict
	$(DEV) -m mypy

e2e: ## the browser tests (needs a Chromium)
	$(DEV) -m pytest tests/e2e $(PYTEST_ARGS)

bench: ## cost and latency per relayed chunk, as a table
	$(DEV) -m tests.bench $(BENCH_ARGS)

chaos: ## kill, cut and stall for minutes, as a table
	$(DEV) -m tests.chaos $(CHAOS_ARGS)

ci: ## what continuous integration runs
	@bash .ci/run

clean: ## remove .venv and caches; the database stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
