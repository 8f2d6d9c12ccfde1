# Every target makes what it needs: a fresh machine wants Python 3.11 or newer, make, and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check serve bench clean

demo: $(READY)            ## sweep, Parquet, report, promotion, a served generation; in demo/
	$(BIN)/amnesia demo

test: $(READY)            ## the whole suite: real digits, real Ray, real HTTP, real browser where there is one
	$(BIN)/python -m pytest

check: $(READY)           ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: $(READY)           ## what `make demo` promoted, on http://127.0.0.1:8000
	$(BIN)/amnesia serve --gallery demo/gallery

bench: $(READY)           ## ratios measured side by side; writes bench.json
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) demo results store gallery build *.egg-info .pytest_cache .mypy_cache .ruff_cache bench.json

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip check
	touch $@
