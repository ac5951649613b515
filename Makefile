# Every target sets up what it needs: `make demo` or `make test` is the first thing to type.
# STACK=torch21 runs a target on the older official stack.
PYTHON ?= python3.11
STACK ?= default
VENV := $(if $(filter torch21,$(STACK)),.venv-torch21,.venv)
RUN := $(VENV)/bin/python

.PHONY: env demo demo-det demo-seg test quick bench lint clean distclean

env:
	@command -v $(PYTHON) >/dev/null || { echo "[set-up] STOPPED: there is no $(PYTHON): \
	apt-get install python3.11 python3.11-venv python3.11-dev, or make PYTHON=/path/to/python3.11" \
	>&2; exit 1; }
	@$(PYTHON) tools/setup_env.py --stack $(STACK)

demo: env
	$(RUN) tools/demo.py cls

demo-det: env
	$(RUN) tools/demo.py det

demo-seg: env
	$(RUN) tools/demo.py seg

test: env
	$(RUN) -m pytest -m "not slurm and not nightly"

quick: env
	$(RUN) -m pytest -m "not train and not slurm and not nightly"

bench: env
	$(RUN) tools/bench.py --write-docs

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis data/digits
	rm -rf work_dirs/demo work_dirs/demo-det work_dirs/demo-seg
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-torch21
