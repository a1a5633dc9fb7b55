# Two commands: `make demo` and `make test`. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
RUN ?= demo
BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)

# uv does not read pip's settings: hand a folder of wheels on to it.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
# Without a GPU nobody wants gigabytes of CUDA: the CPU build of torch, from wheels given or by uv.
ifndef UV_FIND_LINKS
export UV_TORCH_BACKEND ?= cpu
endif

.PHONY: demo test check format bench clean

demo: $(BIN)/.installed  ## the whole job on the bundled sample, offline, without a key
	$(BIN)/kernelsift run kernelsift:sample --run $(RUN) --judge static --replace

test: $(BIN)/.tested  ## all tests
	$(BIN)/python -m pytest -n auto

check: $(BIN)/.tested  ## lint, format, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(BIN)/.tested
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(BIN)/.tested  ## side-by-side benchmarks; prints tables, takes minutes
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf .venv .uv $(RUN)

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet uv

$(BIN)/python: | $(filter .uv/bin/uv,$(UV))
	$(UV) venv --quiet --python $(PYTHON) .venv

$(BIN)/.installed: pyproject.toml | $(BIN)/python
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --editable .
	touch $@

$(BIN)/.tested: pyproject.toml | $(BIN)/python
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[verify]' --group dev
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --group oracles \
		|| echo "tests against other people's statistics are skipped"
	touch $@ $(BIN)/.installed
