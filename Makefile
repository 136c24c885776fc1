# `make` prints the targets; those that need .venv make it when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More threads than cores make a step several times slower; tests need one thread.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Number of tests at a time; each needs a core and 2 GiB.
TEST_PROCESSES ?= 2
PARALLEL := -n $(TEST_PROCESSES) --dist worksteal

# What a developer runs between edits: the rules, the config and the arithmetic.
FAST := tests/test_layout.py tests/test_docs.py tests/test_makefile.py tests/config tests/utils \
	tests/data/sampling tests/data/lists tests/data/test_batch_plan.py tests/data/test_clip_spec.py \
	tests/distill/losses tests/distill/test_schedules.py tests/fusion tests/engine tests/evaluation

.PHONY: help demo test-fast test check test-slow test-exact test-nightly test-faults test-ranks \
	test-compiled test-gpu format clean clean-demo

help:
	@echo "make demo         the whole method on generated videos (11 to 12 minutes on 2 cores)"
	@echo "make test-fast    rules, config, data arithmetic, losses, fusion, engine (under 3 minutes)"
	@echo "make test         all unit tests, then style and types (about 8 minutes on 2 cores)"
	@echo "make check        style and types"
	@echo "make format       fix style"
	@echo "make test-slow    longer tests; also test-exact, test-nightly, test-faults, test-ranks, test-compiled, test-gpu"
	@echo "make clean        delete caches and build files; keeps data, results and .venv"
	@echo "make clean-demo   delete data/demo and runs/demo"

demo: $(VENV)/.installed
	@echo "== three experts, one joint teacher, three students, on generated videos (11 to 12 minutes on 2 cores; after Ctrl-C, 'make demo' resumes)"
	$(BIN)/python tools/train_net.py --config-file configs/demo/mlfd.yaml

test-fast: $(VENV)/.installed
	@echo "== rules, config, data arithmetic, losses, fusion, engine (under 3 minutes on 2 cores)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) $(FAST)

# Style comes last, so that a slip there hides no failing test.
test: $(VENV)/.installed
	@echo "== unit tests (about 8 minutes on 2 cores)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL)
	@$(MAKE) --no-print-directory check

check: $(VENV)/.installed
	@echo "== style and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: $(VENV)/.installed
	@echo "== slow tests: an experiment and a study end to end, signals, long waits"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m slow

test-nightly: $(VENV)/.installed
	@echo "== full-size networks against their libraries, controls of the generated data (minutes)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m nightly

test-exact: $(VENV)/.installed
	@echo "== 200 random reads of each of 56 encodings against the whole read "
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m exact

test-faults: $(VENV)/.installed
	@echo "== fault suite (about 8 minutes on 2 cores): kills, signals, lost ranks, damaged checkpoints, full disks"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m faults

test-ranks: $(VENV)/.installed
	@echo "== trainings of several processes against those of one (about 3 minutes on 2 cores)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m ranks

test-compiled: $(VENV)/.installed
	@echo "== networks of each family compiled by torch.compile (minutes)"
	$(TEST_ENV) $(BIN)/python -m pytest -q -m compiled

test-gpu: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m gpu

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Updated when the dependencies change.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "== making $(VENV) and installing videokd with its dependencies (minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python >= 3.10 is needed; name one: make PYTHON=python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[onnx,dev]'
	@touch $@

# Never data/ or runs/: datasets and results are there.
clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find videokd tests tools -type d -name __pycache__ -exec rm -rf {} +

clean-demo:
	rm -rf data/demo runs/demo
