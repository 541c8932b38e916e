# `make demo` and `make test` set up what they need, on a machine that has Python 3.10 or newer and make.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin

.PHONY: demo test lint fast-test clean

demo: $(VENV)/installed
	$(BIN)/python -m monai.bundle run generate --config_file configs/data/phantom.json --output_dir $(DEMO)/phantom
	$(BIN)/python -m monai.bundle run prepare --config_file configs/data/scans.json \
	    --datalist $(DEMO)/phantom/datalist.json --store $(DEMO)/store --size 72 --frame_rate 15
	$(BIN)/python -m monai.bundle run training \
	    --config_file "['bundle/configs/train.json','configs/pretrain/ours.json','configs/presets/cpu.json']" \
	    --dataset_dir $(DEMO)/store --output_dir $(DEMO)/ours
	@echo
	@echo "On synthetic scans, with a small network:"
	@echo "  fan crops      $(DEMO)/store/fan_crops.png"
	@echo "  sampled pairs  $(DEMO)/ours/pairs.png"
	@echo "  loss curves    $(DEMO)/ours/curves.png"
	@echo "  weights        $(DEMO)/ours/model.pt"

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -q -m "slow or not slow"

fast-test: $(VENV)/installed-test
	$(BIN)/python -m pytest -q

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy -p monai_usspeech

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg | $(VENV)/bin/python
	@echo "Installing into $(VENV): torch is large, this can take a few minutes."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-test: setup.cfg | $(VENV)/bin/python
	@echo "Installing into $(VENV) with what the tests need: torch is large, this can take a few minutes."
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
