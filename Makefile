# `make demo` opens the demo; `make test` is what the build server runs. Both work in a fresh clone with Python 3.11+.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8501
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check coverage format install system-packages image clean

demo: install
	$(BIN)/pellucid demo --port $(PORT)

test: export OMP_NUM_THREADS = 1
test: check system-packages
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

check: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: .venv/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term --cov-report=html

format: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Pellucid needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv \
	  || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv install --quiet pip; } \
	  || { rm -rf .venv; echo "$(PYTHON) can make no environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

# torch goes first, so that a build for this machine that pip already prefers is not replaced by a dependency's choice.
.venv/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable '.[photo,postgres,onnx,api,dicom]'
	@touch $@

.venv/.test: .venv/.run
	$(PIP) --editable '.[photo,photo-better,postgres,onnx,api,dicom,fast,test]'
	@touch $@

system-packages:
	@sh .ci/system-packages

image:
	docker build --tag pellucid .

clean:
	rm -rf .venv build dist *.egg-info .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
