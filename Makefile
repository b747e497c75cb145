VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: install search test test-all lint check clean

install: $(VENV)/.installed

# The stamp makes `install` a no-op until the pins or the project's metadata change.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("nas needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

search: install
	$(BIN)/nas search --config mnas_large.yaml

# What measures for as long as users do, or watches the clock while it does, wants the machine for itself.
QUIET := tests/latency/test_deployment.py tests/latency/test_meter_process.py tests/nas/test_measuring_commands.py

test: install
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder \
		$(addprefix --ignore=,$(QUIET))
	$(BIN)/python -m pytest -m "not slow" $(QUIET)

test-all: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
