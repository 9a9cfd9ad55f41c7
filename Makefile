# Everything a person or a machine runs. Needs root, python3, git and make; the rest is installed where it is missing.
# What is made here is in .gpuspawner/.

SHELL := /bin/sh
# exec: a signal to make must reach the work itself, not a shell before it.
PREPARE := exec env PYTHONPATH=spawner PYTHONDONTWRITEBYTECODE=1 python3 -m gpuspawner.setup
BIN := .gpuspawner/venv/bin
PASSPORTS := .gpuspawner/passports
PYTEST_ARGS ?=
# A process for each core, each takes the next file; what needs a whole installation all goes to the same one,
# and so do the tests of each server that is made.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Where the demo listens; the port after it is taken too.
PORT ?= 8000

# On what server the playbooks are tried.
DEBIAN ?= trixie

# How long the soak test is.
STEPS ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-images test-ansible ansible lint format images push sif pictures bench soak docs words lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo:  ## a whole hub on http://127.0.0.1:8000 (PORT=9000: there), with simulated GPUs where there are none
	@$(PREPARE) demo --port $(PORT)
	@$(BIN)/gpuspawner passport make --all --passports $(PASSPORTS)
	@exec $(BIN)/gpuspawner demo --port $(PORT)

test:  ## every test that can run on this machine (PYTEST_ARGS="-k queue" for some; STRICT=1: all or an error)
	@$(PREPARE) $(if $(STRICT),test-strict,test)
	@$(BIN)/pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-ansible:  ## a fresh Debian server brought to a hub by the playbooks, in a container (DEBIAN=bookworm: Debian 12; CHANGED=1: what has not passed with what is here)
	@tests="$(if $(CHANGED),$$(python3 tests/support/tested.py),tests/ansible)"; \
	if [ -z "$$tests" ]; then echo "Nothing has changed since they passed."; exit 0; fi; \
	($(PREPARE) test-strict) && GPUSPAWNER_TEST_SERVER=$(DEBIAN) \
	$(BIN)/pytest $$tests $(SIDE_BY_SIDE) --require=docker,server $(PYTEST_ARGS)

test-unit:  ## the tests that need no Docker
	@$(PREPARE) test-unit
	@$(BIN)/pytest tests/unit $(SIDE_BY_SIDE) $(PYTEST_ARGS)

ansible:  ## what the playbooks are run with (docs/install.md)
	@$(PREPARE) ansible

test-images:  ## the tests of the images that are built, and their results into the passports (PYTEST_ARGS="-k pytorch-2.9")
	@$(PREPARE) test-strict
	@$(BIN)/pytest tests/images --passports $(PASSPORTS) $(PYTEST_ARGS)

lint:  ## ruff, mypy, the rules of who may import whom, ansible-lint
	@$(PREPARE) environment
	@$(PREPARE) ansible
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd ansible && ../.gpuspawner/ansible/bin/ansible-lint --offline -q

format:  ## put the code in shape
	@$(PREPARE) environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

images:  ## build the images that are missing, and make their passports (IMAGE=pytorch-2.9: that one; CHANGED=1: those that CI builds; FRESH=1: anew)
	@$(PREPARE) $(if $(CHANGED),changed-images,$(if $(FRESH),fresh-images,images) $(if $(IMAGE),--image "$(IMAGE)"))
	@exec $(BIN)/gpuspawner passport make --all --passports $(PASSPORTS)

push:  ## put the images into the registry GPUSPAWNER_REGISTRY, and their digests into images/digests.toml
	@$(PREPARE) push-images $(if $(IMAGE),--image "$(IMAGE)")

sif:  ## write an archive and an Apptainer definition of each image (IMAGE=pytorch-2.9: of that one), for clusters
	@$(PREPARE) sif $(if $(IMAGE),--image "$(IMAGE)")

pictures:  ## make the pictures in docs/pictures anew
	@$(PREPARE) test-strict
	@$(BIN)/pytest tests/browser tests/pages --pictures

bench:  ## measure the line, the ledger, the API and SSH, and starts against stock DockerSpawner
	@$(PREPARE) test-strict
	@exec $(BIN)/python -m tests.bench

soak:  ## anything that can happen, 100,000 steps of it at random (STEPS=5000: so many)
	@$(PREPARE) environment
	@exec $(BIN)/python -m tests.soak --steps $(STEPS)

docs:  ## write the reference pages and the table of images in docs/ from code and catalogue
	@$(PREPARE) environment
	$(BIN)/python docs/reference.py

words:  ## bring the catalogues of translations up to date with the pages
	@$(PREPARE) environment
	$(BIN)/python -m gpuspawner.language.update

lock:  ## resolve every lock file anew
	@$(PREPARE) lock

clean:  ## remove all that was made here, homes and images included, after asking (FORCE=1: without)
	@$(PREPARE) $(if $(FORCE),clean-force,clean)
