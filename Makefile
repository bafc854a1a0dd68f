# What a newcomer needs: Python 3.10 or later, git and make.

PYTHON ?= python3
VENV ?= .venv
# Functional tests wait more than they compute; the others compute.
JOBS ?= 3
FUNCTIONAL_JOBS ?= 4
TRIAL = $(BIN)/python -m twisted.trial
PORT ?= 8080
BIN = $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Every package of tests but for the functional one, and every module beside them.
FOLDERS := $(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py))
UNIT := $(subst /,.,$(filter-out tests/functional,$(FOLDERS)) $(basename $(wildcard tests/test_*.py)))

.PHONY: help run test functional test-all lint docs ci clean

help:
	@echo "make run         serve examples/hello.wsgi and register it in an embedded ZooKeeper"
	@echo "make test        run the tests in this process, and start each twistd plugin once (a minute)"
	@echo "make functional  run the tests with real processes and with Apache ZooKeeper (minutes)"
	@echo "make test-all    run both"
	@echo "make lint        check style, types and the rule of imports"
	@echo "make docs        build the site into build/site; each warning is an error"
	@echo "make ci          run all that decides whether a change can go in"
	@echo "make clean       remove what the others made"

run: $(VENV)/.run
	@echo
	@echo "  Open http://127.0.0.1:$(PORT)/ as soon as the log says 'Serving on'.  Ctrl-C stops it."
	@echo "  http://127.0.0.1:$(PORT)/-/ is its status page."
	@echo "  If the port is taken: make run PORT=8081"
	@echo
	$(BIN)/twistd -n --pidfile= zkserve --zookeeper embedded --path /svc/providers \
		--host 127.0.0.1 --port $(PORT) --status-views examples/hello.wsgi

test: $(VENV)/.test
	$(TRIAL) -j$(JOBS) $(TRIAL_FLAGS) $(UNIT) tests.functional.test_smoke

functional: $(VENV)/.test
	$(TRIAL) -j$(FUNCTIONAL_JOBS) $(TRIAL_FLAGS) tests.functional

test-all: test functional

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --nitpicky --fail-on-warning --quiet docs build/site
	@echo "The site is in build/site: open build/site/index.html"

ci:
	PYTHON=$(PYTHON) bash .ci/run

# pip's own words for it are many, and hide the reason.
define NEW_ENOUGH
import sys
if sys.version_info < (3, 10):
    sys.exit("%s is Python %d.%d, and zkservice needs 3.10 or later: name one with PYTHON=python3.12, after make clean" % ((sys.executable,) + tuple(sys.version_info[:2])))
endef
export NEW_ENOUGH

# The stamps hang on what says which packages are needed.
$(VENV)/.run: setup.py setup.cfg pyproject.toml
	@$(PYTHON) -c "$$NEW_ENOUGH"
	@echo "Making $(VENV) and installing into it, this once..."
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "$$NEW_ENOUGH"
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet --editable ".[test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet --editable ".[test,dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/pip install --quiet --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
