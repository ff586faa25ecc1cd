# Every target works alone on a fresh clone. It needs make, and Python 3.10+ with its venv module.
#
#   PYTHON=python3.12                    another interpreter
#   TORCH_INDEX=https://...              take torch from this index (README, "CPU or GPU")
#   SYSTEM_PACKAGES=yes|no|auto          let the environment see the machine's own packages, as on a Jetson; auto: if PYTHON can import torch
#   VENV=folder  PYTEST_ARGS="-k esr"    where the environment is made; what pytest is told

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
SYSTEM_PACKAGES ?= auto
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPES := build/types/emotion_perception

.PHONY: help venv demo test check clean distclean

help:
	@echo "make demo       perceive the emotion of a real face; pictures go to out/"
	@echo "make test       run the tests"
	@echo "make check      run ruff and mypy"
	@echo "make venv       only make the virtual environment $(VENV)"
	@echo "make clean      remove what was built; make distclean: $(VENV) too"

venv: $(STAMP)

demo: $(STAMP)
	$(BIN)/emotion-perception demo

# A process per core, but not more than four; the tests of a file share what they set up.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

# mypy cannot follow the package's own extension of __path__: it is shown the tree that a wheel has, made of links.
check: $(STAMP)
	$(BIN)/ruff check .
	@rm -rf $(TYPES) && mkdir -p $(TYPES)
	@for part in emotion_perception/*.py emotion_perception/py.typed emotion_perception/commands engine learners ros2_nodes; do \
	    if [ -e $$part ]; then ln -s "$(CURDIR)/$$part" $(TYPES)/; fi; \
	done
	$(BIN)/mypy

clean:
	rm -rf build dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# The stamp makes the second call instant. Without torch on the machine: the version in constraints.txt.
# With it (a Jetson, a GPU server): that torch stays, and so does the machine's OpenCV, as two in one environment disturb each other.
$(STAMP): setup.py setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "make: $(PYTHON) is missing or older than 3.10; install Python 3.10+, or say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "make: $(PYTHON) cannot make virtual environments; run: sudo apt install python3-venv" >&2; exit 1; }
	@set -e; \
	system="$(SYSTEM_PACKAGES)"; \
	if [ "$$system" = auto ]; then \
	    if $(PYTHON) -c 'import torch' 2>/dev/null; then system=yes; else system=no; fi; \
	fi; \
	options=; if [ "$$system" = yes ]; then options=--system-site-packages; fi; \
	echo "making the virtual environment $(VENV) (packages of the machine: $$system)"; \
	$(PYTHON) -m venv $$options "$(VENV)"; \
	touch "$(VENV)/COLCON_IGNORE"; \
	cp constraints.txt "$(VENV)/constraints.txt"; \
	extras=all; \
	if "$(BIN)/python" -c 'import torch' 2>/dev/null; then \
	    grep -v '^torch==' constraints.txt > "$(VENV)/constraints.txt"; \
	elif [ -n "$(TORCH_INDEX)" ]; then \
	    "$(BIN)/python" -m pip install --index-url "$(TORCH_INDEX)" -c constraints.txt torch; \
	fi; \
	if [ "$$system" = yes ] && "$(BIN)/python" -c 'import cv2; assert cv2.__version__.startswith("4.")' 2>/dev/null; then \
	    extras=torch,onnx,keras,train,video,fairness,explain,parquet,emotx,dds; \
	fi; \
	"$(BIN)/python" -m pip install -c "$(VENV)/constraints.txt" -e ".[$$extras,test]"; \
	touch "$(STAMP)"
