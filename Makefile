PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run test lint clean

run: $(VENV)/.run
	@echo
	@echo "  Open http://127.0.0.1:8080/ as soon as the log says 'Serving on'.  Ctrl-C stops it."
	@echo
	$(BIN)/twistd -n --pidfile= zkserve --zookeeper embedded --path /svc/hello \
		--host 127.0.0.1 --port 8080 examples/hello.wsgi

test: $(VENV)/.test
	$(BIN)/python -m twisted.trial tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.run: setup.py setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet -e ".[test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet -e ".[test,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
