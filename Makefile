# The project's commands. A bare `make` lists them.
#
# An installation is made once: .venv/.demo and .venv/.dev are stamps that are
# older than pyproject.toml or constraints.txt when it has to be repeated.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2
KILLS ?= 500
FUZZ ?= 280
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := list
.PHONY: list demo test lint format types floors laws deep gpu kill kill-predict bench soak-serve fuzz-serve coverage clean

list: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: .venv/.demo ## train two adapters on the demo's data and print how good they are
	@$(BIN)/tenon demo

test: .venv/.dev ## run the tests, of laws over kinds and architectures a covering part (make deep: all)
	@$(TEST)

lint: .venv/.dev ## check style and form
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: .venv/.dev ## put every file into the project's form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: .venv/.dev ## check types
	@$(BIN)/pyright

floors: .venv/.dev ## check that a floor imports only from floors below it
	@$(BIN)/lint-imports

laws: .venv/.dev ## run the laws alone, every kind of adapter on every architecture, and write docs/laws.md
	@$(TEST) --laws all --laws-out .laws.json tests/laws tests/upstream
	@$(BIN)/python docs/make_laws.py .laws.json

deep: .venv/.dev ## run the tests, every law in every cell (an hour on two cores)
	@TENON_KILLS=20 $(TEST) --laws all

gpu: ## run the tests that need a CUDA device, with the Python that is called PYTHON
	@$(PYTHON) -m pytest -q tests/gpu

kill: .venv/.dev ## kill, interrupt and fill the disk of hundreds of real runs (minutes; KILLS=500)
	@TENON_KILLS=$(KILLS) $(TEST) -o timeout=3600 tests/laws/test_kill.py

kill-predict: .venv/.dev ## kill, interrupt and fill the disk of hundreds of predictions (minutes; KILLS=500)
	@TENON_KILLS=$(KILLS) $(TEST) -o timeout=3600 tests/verbs/test_predict_parts.py -k killed

bench: .venv/.dev ## measure speed against transformers' Trainer (minutes; use a quiet machine)
	@$(BIN)/python benchmarks/train_vs_trainer.py

soak-serve: .venv/.dev ## ask a server while adapters come and go, and beside slow clients (minutes; runs/soak)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak_serve.py all --out runs/soak

fuzz-serve: .venv/.dev ## send a server thousands of requests by its OpenAPI document (minutes; FUZZ=280)
	@TENON_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/serve/http/test_openapi.py

coverage: .venv/.dev ## simulate how often intervals hold the truth (an hour), and write benchmarks/coverage.md
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py

clean: ## remove .venv, caches and the demo's output
	@rm -rf .venv tenon-demo build dist .laws.json .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tenon needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e ".[demo,trackers]"
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	@touch $@ .venv/.demo
