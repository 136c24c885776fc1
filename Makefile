# `make` prints the targets; those that need .venv make it when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread more than there are cores makes a step several times slower; tests need one.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# So many at a time; each needs a core and 2 GiB. One that is done takes over what others have left.
TEST_PROCESSES ?= 2
PARALLEL := -n $(TEST_PROCESSES) --dist worksteal

.PHONY: help demo test check test-slow test-exact test-faults test-ranks test-compiled test-gpu \
	format clean clean-demo

help:
	@echo "make demo         the whole method on generated videos (11 to 12 minutes on 2 cores)"
	@echo "make test         style, types and unit tests (about 8 minutes on 2 cores)"
	@echo "make check        style and types"
	@echo "make format       mend style"
	@echo "make test-slow    longer tests; also test-exact, test-faults, test-ranks, test-compiled, test-gpu"
	@echo "make clean        delete caches and build files, no data, no results, not .venv"
	@echo "make clean-demo   delete data/demo and runs/demo"

demo: $(VENV)/.installed
	@echo "== three experts, one joint teacher, three students, on generated videos (11 to 12 minutes on 2 cores; Ctrl-C and 'make demo' again goes on)"
	$(BIN)/python tools/train_net.py --config-file configs/demo/mlfd.yaml

test: $(VENV)/.installed check
	@echo "== unit tests (about 8 minutes on 2 cores)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL)

check: $(VENV)/.installed
	@echo "== style and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: $(VENV)/.installed
	@echo "== slow tests (about 6 minutes on 2 cores): the data's controls, fault runs, an experiment end to end"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m slow

test-exact: $(VENV)/.installed
	@echo "== 200 random reads of each of 56 encodings against the whole read (about a minute)"
	$(TEST_ENV) $(BIN)/python -m pytest -q -m exact

test-faults: $(VENV)/.installed
	@echo "== fault suite (about 8 minutes on 2 cores): kills, signals, lost ranks, damaged checkpoints, full disks"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m faults

test-ranks: $(VENV)/.installed
	@echo "== trainings of several processes against those of one (about 3 minutes on 2 cores)"
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PARALLEL) -m ranks

test-compiled: $(VENV)/.installed
	@echo "== a network of each family as torch.compile makes it (about 5 minutes)"
	$(TEST_ENV) $(BIN)/python -m pytest -q -m compiled

test-gpu: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m gpu

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Made anew when the dependencies change.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "== making $(VENV) and installing videokd with its dependencies (minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python >= 3.10 is needed; name one: make PYTHON=python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[onnx,dev]'
	@touch $@

# Never data/ or runs/: datasets and results of months lie there.
clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find videokd tests tools -type d -name __pycache__ -exec rm -rf {} +

clean-demo:
	rm -rf data/demo runs/demo
