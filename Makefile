# Every target sets up what it needs: `make demo` or `make test` is the first thing to type.
# STACK=torch21 runs a target on the older official stack. A test takes one core (one thread): one
# process for each core.
# The first that runs: what a version manager puts on the path may answer and then fail.
ifndef PYTHON
PYTHON := $(firstword $(foreach python,python3.11 python3.12 python3.10,\
	$(shell $(python) -c '' 2>/dev/null && echo $(python))))
endif
STACK ?= default
VENV := $(if $(filter torch21,$(STACK)),.venv-torch21,.venv)
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest -n auto --dist worksteal

.PHONY: env demo demo-det demo-seg study test test-slurm test-gpu soak nightly pythons test-browser quick docs bench zoo lint clean distclean

env:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '' || { echo "[set-up] STOPPED: \
	$(or $(PYTHON),none of python3.11 python3.12 python3.10) does not run: apt-get install \
	python3.11 python3.11-venv python3.11-dev, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) tools/setup_env.py --stack $(STACK)

demo: env
	$(RUN) -m projects.demo cls

demo-det: env
	$(RUN) -m projects.demo det

demo-seg: env
	$(RUN) -m projects.demo seg

study: env
	$(RUN) -m projects.study
	$(RUN) tools/report.py work_dirs/study

test: env
	$(PYTEST) -m "not slurm and not nightly and not browser and not gpu"

# The report in a real browser.
test-browser: env
	@command -v chromium google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install chromium >/dev/null; } || { \
	echo "test-browser needs Chromium: apt-get install chromium" >&2; exit 1; }
	$(RUN) -m pytest -m browser

quick: env
	$(PYTEST) -m "not train and not slurm and not nightly and not browser and not gpu"

# The recipes, a step's waiting and the tools on a GPU.
test-gpu: env
	$(PYTEST) -m gpu

# Ten times as many examples of hostile input, and what else takes minutes.
nightly: env pythons
	$(PYTEST) -m nightly

# The other Pythons, each in a clone of its own: each compiles mmcv once. `make pythons` tries those
# of PYTHONS that run here.
PYTHONS ?= python3.10 python3.12
pythons:
	@for python in $(PYTHONS); do \
		$$python -c '' 2>/dev/null || { echo "[pythons] $$python does not run here: left out"; continue; }; \
		folder=work_dirs/pythons/$$(basename $$python); \
		rm -rf $$folder && git clone -q . $$folder || exit 1; \
		$(MAKE) -C $$folder PYTHON=$$python quick demo || exit 1; \
	done

# Slurm on this machine, on loopback, while the tests run.
test-slurm: env
	@command -v slurmctld munged >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && \
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install slurm-wlm munge; } || { \
	echo "test-slurm needs slurm: apt-get install slurm-wlm munge" >&2; exit 1; }
	$(RUN) -m pytest -m slurm

# Half an hour of training with kills at random times.
soak: env
	$(RUN) -m projects.demo.soak

# The pages as a site, in work_dirs/site; a warning is an error.
docs: env
	$(RUN) -m sphinx -q -W --keep-going -c docs -b html . work_dirs/site
	@echo "-> work_dirs/site/docs/index.html"

bench: env
	$(RUN) -m projects.bench --write-docs

# Every family of models; may be stopped and goes on where it was.
zoo: env
	$(RUN) -m projects.zoo

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis data/digits
	rm -rf work_dirs/demo work_dirs/demo_det work_dirs/demo_seg
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-torch21
