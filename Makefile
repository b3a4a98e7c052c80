# Each target sets up what it needs; a second run finds it done.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1
# The converter's progress bars.
export TQDM_DISABLE := 1

.PHONY: example test lint unit conformance conformance-sample fuzz bench lock clean

$(VENV)/.ready: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-deps --requirement requirements.lock
	touch $@

example: $(VENV)/.ready  ## convert a small vocoder and take it through every verb of milrun
	$(PY) -m tests.example

test: lint unit conformance-sample  ## everything that CI runs

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: $(VENV)/.ready
	$(PY) -m pytest -n 2

conformance-sample: $(VENV)/.ready  ## three minutes of coremltools' own tests
	$(PY) -m tests.conformance --sample 1/35

conformance: $(VENV)/.ready  ## all of coremltools' own tests for ML programs; resumable, takes hours
	$(PY) -m tests.conformance --resume

fuzz: $(VENV)/.ready  ## damaged packages, thousands of them
	MILRUN_FUZZ_EXAMPLES=5000 $(PY) -m pytest tests/milrun/test_damaged_packages.py

bench: $(VENV)/.ready  ## milrun against eager PyTorch: speed, load time, memory
	$(PY) -m tests.bench.milrun_speed
	$(PY) -m tests.bench.milrun_load

lock: $(VENV)/.ready  ## write down what is installed
	$(PY) -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV)
