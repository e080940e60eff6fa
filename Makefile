# Everything a developer types. Each target sets up what it needs first; Python >= 3.11 and make are all it takes.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp
PYTEST := $(BIN)/python -m pytest
# Most tests wait more than they compute; those of one file share what is expensive to build.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup tools protos check check-protos test system mutants bench demo serve image

help:  ## Show these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | column -t -s '|' 2>/dev/null \
	  || grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with jobhall and every tool in it

$(STAMP): pyproject.toml constraints.txt scripts/setup.py
	@$(PYTHON) scripts/setup.py

tools: $(STAMP)  ## Fetch what only the tests need: grpcurl, the Node worker's packages
	@$(BIN)/python scripts/tools.py

protos: $(STAMP)  ## Generate client/jobhall/v1 from protos/
	$(BIN)/python scripts/protos.py generate

check-protos: $(STAMP)  ## Lint protos/ and prove the generated code fresh
	$(BIN)/python scripts/protos.py --check

check: $(STAMP) check-protos  ## Format, lint, types, imports, protos, docs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_docs.py
	$(BIN)/python scripts/states.py --check
	$(BIN)/python -m scripts.seeds --check

# The tests start hundreds of processes: each finds its modules compiled, where the environment forbids to keep that too.
test system: export PYTHONDONTWRITEBYTECODE :=

test: tools  ## Every test, the proofs in their short form
	$(PYTEST) -n 4 $(SIDE_BY_SIDE) tests

system: tools  ## The tests with real processes, the proofs in their long form; many minutes
	$(PYTEST) -n 3 $(SIDE_BY_SIDE) tests/system tests/simulation --long

mutants: $(STAMP)  ## Deliberate faults: the simulation, the lifecycle machine or the tests of the watch find each; minutes
	$(BIN)/python scripts/mutants.py

bench: $(STAMP)  ## The benchmark with its two yardsticks; minutes
	$(BIN)/python -m bench

demo: $(STAMP)  ## Two files, two workers, one killed half-way (ROWS=… SEED=… for other files)
	$(BIN)/python examples/bulk_scoring/demo.py $(if $(ROWS),--rows $(ROWS)) $(if $(SEED),--seed $(SEED))

serve: $(STAMP)  ## Run the server as a user would (ARGS=…)
	$(BIN)/jobhall-server serve $(ARGS)

image:  ## Build the container image
	docker build --tag jobhall .
