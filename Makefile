# make demo   the whole story on a local GitHub; AGENT=claude uses the real CLI, KEEP=1 leaves it running
# make test   ruff, mypy --strict and pytest, with the locked versions
# make drift   the same with the newest version of everything: which of the three fail, and what is newer than locked
# make lock   chooses those versions anew: requirements.txt is what `make demo` installs, requirements-dev.txt what the tests need
# make crash-matrix   every crash and every pair of crashes on the way to a merge; CRASHES_ARGS='--stages 3' takes 20 minutes on 2 cores
# make bench   what everything costs beside its floors, in minutes; make bench-quick   a small version
# make soak   500 items in three virtual days, with what the daemon holds on to along the way; about half an hour
# Each makes its own virtual environment and installs into it; PYTHON=python3.12 chooses another Python (3.10 or newer).

PYTHON ?= python3
VENV ?= .venv
AGENT ?= standin
PYTEST_ARGS ?=
CRASHES_ARGS ?=
BENCH_ARGS ?=
BIN = $(VENV)/bin
# One more try, then pip says that nobody answers: its own five tries take minutes.
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --retries 1
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
	--custom-compile-command 'make lock' pyproject.toml

.PHONY: help demo test lint types suite drift newest lock settings crash-matrix soak bench bench-quick
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

demo: $(VENV)/.installed
	@$(BIN)/orchestrator demo --agent $(AGENT) $(if $(KEEP),--keep)

test: lint types suite

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy --strict

suite: $(VENV)/.installed-dev
	$(BIN)/pytest -n 3 $(PYTEST_ARGS)

# In an environment of its own, made anew; each of the three runs, whatever the one before found.
drift: export PROGRAMS = newest
drift:
	@rm -rf $(VENV)/newest
	@$(MAKE) --no-print-directory newest VENV=$(VENV)/newest

newest: $(VENV)/pyvenv.cfg
	@echo "Installing the newest of everything into $(VENV) ..."
	@$(PIP) --upgrade pip
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed $(VENV)/.installed-dev
	@! command -v npm >/dev/null || $(BIN)/python -m tests.programs
	@failed=; for step in lint types suite; do $(MAKE) --no-print-directory $$step || failed="$$failed $$step"; done; \
	$(BIN)/python -m tests.locked; \
	[ -z "$$failed" ] || { echo "With the newest of everything fails:$$failed" >&2; exit 1; }

crash-matrix: $(VENV)/.installed-dev
	$(BIN)/python -m tests.crashes --page tests/crashes.md $(CRASHES_ARGS)

soak: $(VENV)/.installed-dev
	SOAK_ITEMS=500 $(BIN)/pytest -s tests/test_soak.py

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench --json bench.json --svg bench-plots $(BENCH_ARGS)

bench-quick: $(VENV)/.installed-dev
	$(BIN)/python -m bench --quick $(BENCH_ARGS)

# After a change of settings.py, tests/crashes.md or bench/results.md (`--page`): .env.example and the README follow.
settings: $(VENV)/.installed
	$(BIN)/python tools/write_pages.py

# One resolution for every system and every Python; the second file is a part of the first.
lock: $(VENV)/pyvenv.cfg
	$(PIP) uv==0.13.9
	$(LOCK) --extra dev --output-file requirements-dev.txt
	printf '%s\n' hatchling editables | $(LOCK) - --constraints requirements-dev.txt --output-file requirements.txt

# A Python that is missing, too old or without venv is told in one sentence; a half-made environment is made anew.
$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.10 or newer, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$($(PYTHON) --version) is too old: this needs Python 3.10 or newer; name one with PYTHON=..." >&2; exit 1; }
	@command -v git >/dev/null || { echo "git was not found: install it (2.39 or newer)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# What is built here is built by the locked programs too: pip fetches others only for a build that it isolates.
$(VENV)/.installed: pyproject.toml requirements.txt $(VENV)/pyvenv.cfg
	@echo "Installing into $(VENV) ..."
	@$(PIP) --require-hashes --requirement requirements.txt
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@touch $@
