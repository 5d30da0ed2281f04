# make setup | sweep ARGS="..." | check | test | test-all | lock | clean

PYTHON ?= python3
ARGS ?=
# two processes, each of which takes whole files: their fixtures are what is slow
PYTEST_ARGS ?= -n 2 --dist loadfile
LOCK_ARGS ?=

BIN := .venv/bin
READY := .venv/ready
UV := $(shell command -v uv 2>/dev/null)

.PHONY: setup sweep check test test-all lock clean

setup: $(READY)

# The lock is installed by its hashes, then this project as it lies here. hatchling is locked too,
# so the last step asks no registry. Bytecode: importing torch, ray and mlflow without costs minutes.
# A machine's own constraints for pip have no say over a lock.
$(READY): pyproject.toml requirements.lock _platform_bridge.py _platform_bridge.pth
ifneq ($(UV),)
	test -x $(BIN)/python || $(UV) venv --quiet .venv
	$(UV) pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
else
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_CONSTRAINT=/dev/null $(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
endif
	touch $@

sweep: $(READY)
	$(BIN)/python -m platform.sweep $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/lint_imports.py

test: check
	$(BIN)/python -m pytest -m "not slow and not cluster and not gpu" $(PYTEST_ARGS)

test-all: check
	if $(BIN)/python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; \
	then $(BIN)/python -m pytest $(PYTEST_ARGS); \
	else $(BIN)/python -m pytest -m "not gpu" $(PYTEST_ARGS); fi

# For every Python and system that pyproject.toml admits; LOCK_ARGS=--upgrade takes newer versions.
# This machine's own indexes are left out: what only they hold, nobody else could install.
lock:
	env -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS uv pip compile --no-config --quiet \
	  --universal --python-version 3.11 --group dev --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) -o requirements.lock pyproject.toml

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
