# `make compare` and `make test` set up what they need the first time; `make help` lists the rest.
PYTHON ?= python3
MODEL  ?= resnet50
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
GPU    := .venv-gpu
ORT    := .venv-ort
CORE   ?= .venv-core
.DEFAULT_GOAL := help

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cpu,onnx,dev]'
	@touch $@

.PHONY: help setup compare test test-core test-zoo fuzz lint docs bench test-gpu-stack clean

help: ## list what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: $(STAMP) ## make .venv and install everything into it

compare: $(STAMP) ## is torch's MODEL the same function as Paddle's
	$(BIN)/python tools/compare.py $(MODEL)

test: $(STAMP) ## the test suite
	$(BIN)/python -m pytest -n 2 -m 'not stack and not zoo'

# What the core promises, shown where nothing else is: no framework, no onnx. Another Python, another venv:
# make test-core PYTHON=python3.13 CORE=.venv-core-3.13
$(CORE)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --editable . pytest hypothesis
	@touch $@

test-core: $(CORE)/.stamp ## the tests that need no framework, in a venv that has none
	$(CORE)/bin/python -m pytest --core -m 'not zoo'

lint: $(STAMP) ## ruff and basedpyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

test-zoo: $(STAMP) ## every network of the zoo, minutes
	$(BIN)/python -m pytest -n 2 -m zoo

fuzz: $(STAMP) ## damaged and hostile files for every reader, minutes
	$(BIN)/python tests/fuzz/run.py --mutants 100000 --seed 0

docs: $(STAMP) ## write docs/source-claims.md, docs/differences.md and the table of docs/onnx.md anew
	$(BIN)/python tests/analysis/test_source_claims.py
	PYTHONPATH=tests $(BIN)/python tests/analysis/test_exporter_faults.py
	$(BIN)/python tests/differences.py

bench: $(STAMP) ## speed and memory of the main job against the bare floor
	$(BIN)/python tools/bench.py verify $(MODEL)

# What a GPU user has: Paddle's GPU build in a venv of its own. It imports and runs on a machine without a GPU.
$(GPU)/.stamp:
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet 'paddlepaddle-gpu==2.6.2' safetensors
	@touch $@

# Likewise ONNX Runtime's GPU build, which may not share a venv with the CPU's: both are the module onnxruntime.
$(ORT)/.stamp:
	$(PYTHON) -m venv $(ORT)
	$(ORT)/bin/python -m pip install --quiet 'onnxruntime-gpu==1.31.1' onnx safetensors
	@touch $@

test-gpu-stack: $(STAMP) $(GPU)/.stamp $(ORT)/.stamp ## GPU builds of Paddle 2.6 and ONNX Runtime in venvs of their own
	PADDLE_PYTHON=$(GPU)/bin/python ONNX_PYTHON=$(ORT)/bin/python $(BIN)/python -m pytest -m stack

clean: ## remove the venvs
	rm -rf $(VENV) $(GPU) $(ORT) $(CORE)*
