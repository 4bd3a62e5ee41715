# make setup | demo | test | lint | wheel | reliability | soak: each does what is missing and nothing twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export MUJOCO_GL ?= egl

.PHONY: setup demo test lint unit wheel reliability soak stubs lock clean

setup: $(INSTALLED)
	@.ci/check-graphics $(BIN)/python

# PyTorch's CPU build first; where no configured package index has it, the standard build, which also runs on the CPU.
$(INSTALLED): pyproject.toml constraints.txt .ci/check-python
	@.ci/check-python $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt "torch==2.13.0+cpu" 2>/dev/null \
	  || { echo "no CPU build of torch in the configured package indexes; installing the standard build (several GB)"; \
	       $(BIN)/pip install --quiet --constraint constraints.txt "torch==2.13.0"; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup
	$(BIN)/telos demo

test: setup lint unit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Two at a time first, each file in one process, on one thread each, since four on two cores keep no deadline; then those
# that measure time, with nothing beside them.
unit: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not alone"
	$(BIN)/pytest -m "alone and not slow"

# One wheel: the client, which needs numpy and Pillow only, and the server behind the extra telos[server].
wheel: $(INSTALLED)
	.ci/build-wheel $(BIN)/python dist

reliability: $(INSTALLED)
	$(BIN)/python -m benchmarks.reliability --out benchmarks/results/reliability.json

soak: $(INSTALLED)
	$(BIN)/python -m benchmarks.soak --out benchmarks/results/soak.json

stubs: $(INSTALLED)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --pyi_out=. telos/wire/telos.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. server/engine/wire/engine.proto

lock: $(INSTALLED)
	{ echo "# Every version that the tests ran with. Regenerate: make lock"; \
	  $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt

clean:
	rm -rf $(VENV) out dist
