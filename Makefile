# Three commands that matter, each doing all its own set-up on a fresh machine: `make demo`, `make deploy-demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
PRESS  := $(VENV)/.documents
PIP    := $(BIN)/pip install --quiet --quiet --no-compile --constraint constraints.txt

export PYTHON
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo deploy-demo test lint types contracts unit coverage proto walks faults slow soak bench bench-buffered \
    bench-quality bench-attacks bench-pages reference docs completion hooks installed clean

help: ## list the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "fedrec needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...")'
	@echo "setting up $(VENV): minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import fedrec.notebook' # compiles what fedrec needs, not all of 18,000 files
	@touch $@

install: $(READY) ## virtual environment with everything that development needs

demo: $(READY) ## the main job: federated training on MovieLens-100K under user-level DP
	$(BIN)/fedrec demo

deploy-demo: $(READY) ## a server behind nginx and three devices on this machine: one round over TLS, one answer
	@test -x /usr/sbin/nginx || command -v nginx >/dev/null || { echo "nginx is needed: apt-get install nginx-light" >&2; exit 2; }
	$(BIN)/fedrec deploy-demo

##@ Must be green

test: lint types contracts unit ## everything that must be green

lint: $(READY) ## rules of style, and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## static types, strict
	$(BIN)/mypy

contracts: $(READY) ## who may import whom
	$(BIN)/lint-imports

# Two workers on two cores: a third brings nothing.
unit: $(READY) ## the tests but those that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

##@ Write what is generated

proto: $(READY) ## generate the stubs of the device's local service from its .proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. clients/service/device.proto

walks: $(READY) ## walk the three personas' paths anew and write their transcripts, docs/walks: minutes; data from FEDREC_DATA
	@for list in docs/walks/*.toml; do $(BIN)/python .ci/walk $$(basename $$list .toml) --write $${list%.toml}.md || exit 1; done

reference: $(READY) ## write the generated pages of docs/reference, and set links into code to the lines that they name
	PYTHONPATH=.:.ci $(BIN)/python -m documents.reference

# The requirements alone: to install fedrec again would take it from under tests that run meanwhile.
$(PRESS): $(READY) pyproject.toml constraints.txt
	$(PIP) $$($(BIN)/python -c 'import tomllib; \
	    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

docs: $(PRESS) reference ## the documentation as a site, site/index.html, which needs neither server nor network; a broken link fails
	PYTHONPATH=.:.ci NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file .ci/documents/mkdocs.yml

completion: $(READY) ## write the table that shells complete commands by, from the commands
	$(BIN)/python -m fedrec.cli.outlining

##@ Test what takes minutes

faults: $(READY) ## the cases of fault and abuse that take minutes: real deployments, power cuts, millions of events
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and (fault or abuse)"

slow: $(READY) ## the tests that take minutes
	$(BIN)/pytest -m slow

soak: $(READY) ## rounds among drawn faults for MINUTES=10 from SEED=0 on; a failing seed is named and repeats
	OMP_NUM_THREADS=1 FEDREC_SOAK_MINUTES=$(or $(MINUTES),10) FEDREC_SOAK_SEED=$(or $(SEED),0) \
	    $(BIN)/pytest -q -s -m slow tests/simulations/churn/test_chaos.py

##@ Measure

RUNS ?= runs/quality

bench: $(READY) ## measure speed, memory and what privacy costs again: 25 minutes; rows in docs/measured, pages in docs
	-$(BIN)/fedrec data get ml-100k
	OMP_NUM_THREADS=1 $(BIN)/fedrec bench all
	$(BIN)/fedrec bench pages

bench-buffered: $(READY) ## buffers beside synchronous rounds, two seeds
	OMP_NUM_THREADS=1 $(BIN)/fedrec bench all --benches buffered
	$(BIN)/fedrec bench pages

bench-quality: $(READY) ## the runs behind docs/quality.md that RUNS=runs/quality lacks, hours for all; rows and page
	$(BIN)/fedrec bench quality --out $(RUNS) --store docs/measured/quality.jsonl
	$(BIN)/fedrec bench pages

bench-attacks: $(READY) ## cells of the table in docs/robustness.md that are not kept yet, hours for all; rows and page
	$(BIN)/fedrec bench attacks
	$(BIN)/fedrec bench attacks --world fedrec
	$(BIN)/fedrec bench attacks --reproduce
	$(BIN)/fedrec bench pages

bench-pages: $(READY) ## write the pages that hold figures from what is kept
	$(BIN)/fedrec bench pages

##@ Check further, and clean

# Lines and branches of these are covered whole.
WHOLE := fedrec/privacy/*,fedrec/flower/*,fedrec/envelope.py,fedrec/signing/*,fedrec/codecs/*,fedrec/rounds.py,fedrec/aggregation/*

coverage: $(READY) ## the suite under coverage: 90 % of fedrec, and every branch of its privacy and protocol code
	@rm -rf .coverage && mkdir .coverage
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --timeout 900 -m "not slow" --cov --cov-report=
	$(BIN)/coverage report --include='fedrec/*' --fail-under=90 --format=total
	$(BIN)/coverage report --include='$(WHOLE)' --fail-under=100 --skip-covered --show-missing

hooks: $(READY) ## run lint and types before each commit, and the documents' tests before each push
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

installed: ## the package, installed into a clean environment outside the checkout, simulates one round
	.ci/installed

clean: ## remove what the targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist site
