# Every target does the set-up it needs, in .venv: Python >= 3.10 and a C++20 compiler suffice.
# PYTHON=python3.12 picks another interpreter, CXX=clang++ another compiler, JOBS=1 fewer workers.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SANITIZERS := thread address undefined
CPP := $(shell find simulator_cpp -name '*.cpp' -o -name '*.h')
# What the compiled module is made of; the rest of an editable install follows the sources.
BUILT_FROM := pyproject.toml $(CPP) $(wildcard tileflow_tvm/isa/*.py) \
              $(wildcard CMakeLists.txt simulator_cpp/CMakeLists.txt simulator_cpp/*/CMakeLists.txt)

.PHONY: help setup demo test lint lint-python lint-types lint-cpp lint-derived bench publish sweep \
        sanitize clean

help:
	@echo 'make demo      a trained network and a hand-written kernel, from script to numbers'
	@echo 'make test      the tests'
	@echo 'make lint      style, types, and generated documents'
	@echo 'make bench     speed, side by side with NumPy'
	@echo 'make publish   what that measured, into doc/performance.md'
	@echo 'make sweep     the tests that take long: every shape and SRAM size'
	@echo 'make sanitize  the simulator under ThreadSanitizer, AddressSanitizer and UBSan: minutes'
	@echo 'make setup     install into .venv; the others do this by themselves'
	@echo 'make clean     remove what was built, .venv included'

setup: $(INSTALLED)

$(INSTALLED): $(BUILT_FROM)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "error: Python 3.10 or newer is needed; $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
	  echo 'hint: make PYTHON=/path/to/python3.11'; exit 1; } >&2
	@if [ -n "$$CXX" ]; then set -- "$$CXX"; else set -- c++ g++ clang++; fi; for cxx; do \
	  echo '#include <span>' | $$cxx -std=c++20 -x c++ -fsyntax-only - 2>/dev/null && exit 0; done; \
	  { echo "error: no C++20 compiler: none of $$* compiles a program"; \
	  echo 'hint: install g++ (>= 11) or clang++ (>= 14), or name one: make CXX=g++-12'; exit 1; } >&2
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment"; \
	  echo 'hint: on Debian and Ubuntu: apt install python3-venv'; exit 1; } >&2
	@echo 'Installing into $(VENV): fetches TVM and compiles the simulator. The first time takes minutes.'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/digits.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS)

lint: lint-python lint-types lint-cpp lint-derived

lint-python: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

lint-types: $(INSTALLED)
	$(BIN)/mypy

lint-cpp: $(INSTALLED)
	$(BIN)/clang-format --dry-run -Werror $(CPP)

# What is generated from the instruction table and the machine's keys, and kept in the repository.
lint-derived: $(INSTALLED)
	@$(BIN)/python -m tileflow_tvm.isa.generate --doc $(VENV)/isa.md \
	  --machine-doc $(VENV)/machine.md --machine $(VENV)/tileflow.toml
	diff doc/isa.md $(VENV)/isa.md
	diff doc/machine.md $(VENV)/machine.md
	diff tileflow_tvm/isa/machines/tileflow.toml $(VENV)/tileflow.toml

bench: $(INSTALLED)
	$(BIN)/python benchmarks/bench_gemm.py
	$(BIN)/python benchmarks/bench_programs.py
	$(BIN)/python benchmarks/bench_kernels.py
	$(BIN)/python benchmarks/bench_compile.py
	$(BIN)/python benchmarks/bench_tile_search.py

# The figures of the last `make bench`, into the document.
publish: $(INSTALLED)
	$(BIN)/python benchmarks/publish.py

sweep: $(INSTALLED)
	HYPOTHESIS_PROFILE=sweep $(BIN)/python -m pytest -n $(JOBS) -m sweep

sanitize: $(INSTALLED)
	@for kind in $(SANITIZERS); do \
	  echo "Building tileflow-sim with -fsanitize=$$kind"; \
	  PATH=$(CURDIR)/$(BIN):$$PATH; \
	  cmake -S . -B build/sanitize-$$kind -DTILEFLOW_SANITIZE=$$kind --log-level=WARNING \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python && \
	  cmake --build build/sanitize-$$kind --parallel $(JOBS) -- -s || exit 1; done
	TILEFLOW_SANITIZERS='$(SANITIZERS)' $(BIN)/python -m pytest -n $(JOBS) -m sanitize

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
