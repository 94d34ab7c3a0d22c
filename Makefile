# The README's two commands. Both make .venv and install what they need on first use.
# The first of these that is Python 3.11 or later.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
CONFIG ?= configs/demo.yaml
RUN_DIR ?= runs/demo
SET ?= # further settings, key.path=value ...

RL_RUN ?= $(RUN_DIR)_rl# where make demo-rl writes

ABLATION ?= full # or small
ABLATION_ARMS ?= # names with commas, and
ABLATION_SEEDS ?= # numbers; default: all that are planned

PY = .venv/bin/python
RUN = --config $(CONFIG) run_dir=$(RUN_DIR) $(SET)

.PHONY: demo demo-rl ablation test lint
demo: .venv/installed ## everything, from an empty folder to the table of stages and the report
	$(PY) synth_data.py $(RUN)
	$(PY) train_sft.py $(RUN)
	$(PY) train_grpo.py $(RUN)
	$(PY) evaluate.py $(RUN)
	$(PY) -m fleming.training.reproduced $(RUN_DIR)
	$(PY) -m fleming.report $(RUN_DIR)

demo-rl: .venv/installed ## RL alone, from RUN_DIR's finished cold start, SET changed, into RL_RUN; both runs' rewards
	@test -f $(RUN_DIR)/sft/model/config.json -a -f $(RUN_DIR)/grpo/metrics.jsonl || { \
	echo "$(RUN_DIR): no cold start with a run of RL to compare with: make demo first, or name its folder, RUN_DIR=..."; exit 2; }
	$(PY) train_grpo.py --config $(RUN_DIR)/config.yaml run_dir=$(RL_RUN) grpo.start_from=base \
		model=$(RUN_DIR)/sft/model data.questions=$(RUN_DIR)/data/rl.jsonl data.dev=$(RUN_DIR)/data/dev.jsonl $(SET)
	$(PY) -m fleming.toy --runs $(RUN_DIR) $(RL_RUN)

ablation: .venv/installed ## docs/ablation.md: what each choice is worth; may be stopped, and goes on
	$(PY) -m benchmarks.ablation --scale $(ABLATION) --arms "$(ABLATION_ARMS)" --seeds "$(ABLATION_SEEDS)"

TEST_BESIDE = tests/ablation tests/ground tests/scripts tests/training tests/model tests/checks tests/report # about half of all the time that the tests take
test: .venv/installed-dev ## all tests, in two processes: these beside all others
	@log=$$(mktemp); \
	$(PY) -m pytest $(TEST_BESIDE) > $$log 2>&1 & beside=$$!; \
	$(PY) -m pytest $(addprefix --ignore ,$(TEST_BESIDE)); others=$$?; \
	wait $$beside; status=$$?; cat $$log; rm -f $$log; \
	exit $$((others + status))

lint: .venv/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# torch is named first: without it a range takes the newest build, with gigabytes of CUDA libraries.
.venv/installed: requirements.txt
	@test -x $(PY) || test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=..."; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q torch==2.13.0
	$(PY) -m pip install -q -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PY) -m pip install -q -r requirements-dev.txt
	touch $@
