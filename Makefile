# Two commands do everything: `make demo` and `make test`. Both create the environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-kill test-slow test-node test-assurance test-oracle lint format vectors artifacts clean

demo: $(VENV)/.ready
	$(BIN)/hallmark demo

test: $(VENV)/.ready
	$(BIN)/pytest -n auto -m "not slow and not node"

test-kill: $(VENV)/.ready
	$(BIN)/pytest -m slow --timeout=900 tests/trainer/test_resume.py tests/trainer/test_checkpoint.py

test-slow: $(VENV)/.ready
	$(BIN)/pytest -n auto --timeout=900 -m "slow and not node"

test-node: $(VENV)/.ready contracts/node_modules/.package-lock.json
	$(BIN)/pytest -n auto -m node

test-assurance: .venv-assurance/.ready contracts/node_modules/.package-lock.json
	contracts/assurance/run .venv-assurance/bin

# Without what byzfl asks for (torchvision, pandas, seaborn): the rules that are compared need none of it.
test-oracle: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --no-deps byzfl==0.0.11
	$(BIN)/pytest tests/trainer/test_defences.py -k byzfl

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vectors: $(VENV)/.ready
	$(BIN)/python -m tests.vectors.generate

artifacts: contracts/node_modules/.package-lock.json
	node contracts/compile.mjs

contracts/node_modules/.package-lock.json: contracts/package-lock.json
	cd contracts && npm ci --ignore-scripts --no-fund --no-audit

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.venv-assurance/.ready: contracts/assurance/requirements.txt
	test -x .venv-assurance/bin/python || $(PYTHON) -m venv .venv-assurance
	.venv-assurance/bin/python -m pip install --quiet -r contracts/assurance/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-assurance runs contracts/node_modules
