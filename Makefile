# make run: from a fresh checkout to the app. PYTHON=... chooses the interpreter.

VENV := .venv
PY := $(VENV)/bin/python
SETUP := packaging/setup.sh
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
PACKAGE_READY := $(VENV)/.ready-package
BUILT := dist/cotrain-contributor/cotrain-contributor
ARGS ?=
PYTHON ?=
TORCH_INDEX ?=
export PYTHON TORCH_INDEX

# Tests start Python some hundred times. Where the environment forbids compiled files, as many
# containers do, each of them would compile the app anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: run test lint bench attacks faults long-run pictures package gpu-runtime smoke translations messages containers clean
.DELETE_ON_ERROR:

run: $(RUN_READY) translations
	$(PY) main.py --demo $(ARGS)

test: $(DEV_READY) translations
	QT_QPA_PLATFORM=offscreen PYTEST_QT_API=pyside6 \
	  $(PY) -m pytest -m "not bench and not slow" -n 3 --maxschedchunk 1 $(ARGS)

lint: $(DEV_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(RUN_READY) translations
	$(SETUP) xvfb
	$(PY) tests/bench/run.py $(ARGS)

# One of four peers is hostile: what does it cost the others? ARGS="--epochs 60 nan sign" chooses.
attacks: $(DEV_READY)
	QT_QPA_PLATFORM=offscreen PYTEST_QT_API=pyside6 \
	  $(PY) -m pytest tests/e2e/test_attacks.py tests/e2e/test_closed_swarm.py
	$(PY) tests/bench/attacks.py $(ARGS)

# What fails out there, on purpose: tests of minutes, then a table. ARGS="--runs 3 --only 'disk full'"
# chooses.
faults: $(DEV_READY) translations
	FAULT_RUNS=300 $(PY) -m pytest tests/e2e/test_exactly_once.py
	QT_QPA_PLATFORM=offscreen PYTEST_QT_API=pyside6 $(PY) -m pytest -m slow \
	  --ignore=tests/e2e/test_attacks.py --ignore=tests/e2e/test_closed_swarm.py
	$(PY) tests/bench/faults.py $(ARGS)

# Two hours of the demo, while others come and go: a report and a picture in long-run/.
long-run: $(DEV_READY) translations
	$(PY) tests/bench/long_run.py $(ARGS)

# A screenshot of every page and dialog, in build/pictures/. ARGS="--only dark" chooses.
pictures: $(DEV_READY) translations
	$(SETUP) pictures
	$(PY) tests/bench/pictures.py $(ARGS)

# Everything that is downloaded, in dist/. ARTEFACTS="tarball deb" chooses.
ARTEFACTS ?= tarball deb appimage
package: $(BUILT)
	PYTHON=$(PY) packaging/linux/artefacts.sh $(ARTEFACTS)
	-$(PY) packaging/sizes.py

# A folder with the app, Python and all libraries.
$(BUILT): $(PACKAGE_READY) $(shell git ls-files app ui resources main.py packaging) | translations
	$(VENV)/bin/pyinstaller --noconfirm --log-level WARN --distpath dist --workpath build/pyinstaller \
	  packaging/cotrain-contributor.spec

# Lists the files of PyTorch for NVIDIA's GPUs, so that the packaged app can fetch them. Large.
gpu-runtime: $(PACKAGE_READY)
	$(PY) packaging/gpu_runtime.py

# The packaged app on its own: no network but loopback, an empty home, no Python in reach.
smoke: $(BUILT)
	$(SETUP) xvfb
	$(PY) packaging/smoke.py $(ARGS)

# The container image without a registry, and a swarm of containers: needs root, podman, docker-compose
# and mmdebstrap. ARGS=--no-build takes the image that is there.
containers:
	python3 packaging/containers/local/prove.py $(ARGS)

translations: $(RUN_READY)
	@$(PY) packaging/compile_translations.py

# After a text has changed: brings the catalogue in line with the sources, for a translator to fill in.
messages: $(RUN_READY)
	@mkdir -p build
	$(VENV)/bin/pybabel -q extract --add-location=file --project=cotrain -o build/cotrain.pot app ui
	$(VENV)/bin/pybabel -q update --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date \
	  --no-wrap -l zh_CN -i build/cotrain.pot -o resources/translations/zh_CN.po

$(RUN_READY): pyproject.toml $(SETUP)
	$(SETUP) venv setup

# Contains what `run` needs, and makes its stamp too.
$(DEV_READY): pyproject.toml $(SETUP)
	$(SETUP) venv setup,dev

$(PACKAGE_READY): pyproject.toml $(SETUP)
	$(SETUP) venv setup,package

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find app ui tests packaging main.py -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	find resources -name '*.mo' -delete
