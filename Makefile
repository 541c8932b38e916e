# `make demo` and `make test` set up what they need, on a machine that has Python 3.10 or newer and make.
PYTHON ?= python3
VENV ?= .venv
LABEL_VENV ?= .venv-label
DEMO ?= demo
BIN := $(VENV)/bin

.PHONY: demo bundle-model test label-test lint fast-test clean

demo: $(VENV)/installed
	$(BIN)/python -m monai.bundle run generate --config_file configs/data/phantom.json --output_dir $(DEMO)/phantom \
	    --n_scans 18 --seconds 40
	$(BIN)/python -m monai.bundle run prepare --config_file configs/data/scans.json \
	    --datalist $(DEMO)/phantom/datalist.json --store $(DEMO)/store --size 72 --frame_rate 15
	$(BIN)/python -m monai.bundle run study \
	    --config_file "['configs/studies/initialisation.json','configs/presets/study_cpu.json']" \
	    --dataset_dir $(DEMO)/store --output_dir $(DEMO)/study --methods "['random','video','ours']" \
	    --tasks "['standard_plane','gaze_saliency','retrieval','embedding']" --workers 2 --open_in_browser True
	@echo
	@echo "On synthetic scans, with a small network:"
	@echo "  fan crops      $(DEMO)/store/fan_crops.png"
	@echo "  sampled pairs  $(DEMO)/study/pretrain/ours/fold0-seed0/pairs.png"
	@echo "  weights        $(DEMO)/study/pretrain/ours/fold0-seed0/model.pt"
	@echo "  report         $(DEMO)/study/report.html"

# The weights in bundle/models: the small network on synthetic scans. About twenty minutes on two cores.
bundle-model: $(VENV)/installed
	$(BIN)/python -m monai.bundle run generate --config_file configs/data/phantom.json \
	    --output_dir $(DEMO)/bundle/phantom --n_scans 36 --seed 1 --size 224 --grid "[128, 256]"
	$(BIN)/python -m monai.bundle run prepare --config_file configs/data/scans.json \
	    --datalist $(DEMO)/bundle/phantom/datalist.json --store $(DEMO)/bundle/store --size 108 --frame_rate 7.5
	$(BIN)/python -m monai.bundle run run --config_file "['configs/downstream/standard_plane.json',\
	    'configs/presets/downstream_cpu.json','configs/presets/bundle_model.json']" \
	    --dataset_dir $(DEMO)/bundle/store --output_dir $(DEMO)/bundle/run
	mkdir -p bundle/models
	cp $(DEMO)/bundle/run/model.pt bundle/models/model.pt

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -q -m "slow or not slow" --ignore tests/label
	$(MAKE) label-test

# The MONAI Label server, in the environment that it needs. The fast run has those of its tests that need none.
label-test: $(LABEL_VENV)/installed
	$(LABEL_VENV)/bin/python -m pytest -q -m "slow or not slow" tests/label

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

$(LABEL_VENV)/installed: setup.cfg
	$(PYTHON) -m venv $(LABEL_VENV)
	@echo "Installing MONAI Label into $(LABEL_VENV): this can take a few minutes."
	$(LABEL_VENV)/bin/python -m pip install --quiet --editable '.[label]' 'pytest>=8' 'pytest-xdist>=3.6'
	@touch $@

clean:
	rm -rf $(VENV) $(LABEL_VENV) $(DEMO) build *.egg-info
