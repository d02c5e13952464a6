# Two commands are enough on a fresh Debian or Ubuntu machine: make demo, make test.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n 6 --dist loadgroup
# Six at a time, with brokers, tmux and ipython: a test that ran out of time there gets one
# more chance, alone. What fails for a reason fails again.
AGAIN := echo " [!] Once more, alone: the tests that failed" \
  && $(PYTEST) --last-failed --last-failed-no-failures none --maxfail 10

SCRIPT_TESTS := $(addprefix tests/test_,standalone.py producer.py consumer.py qprocessor.py errors.py \
  broker_loss.py journal.py)

.PHONY: help demo test speed test-versions test-pika-next sync lint broker down clean

help:
	@echo "make demo            see it work: three workers, one is killed, nothing is lost"
	@echo "make test            run all tests"
	@echo "make broker          bring a RabbitMQ up and say how to connect (labs/broker.py up)"
	@echo "make down            stop it again; queues and messages are kept"
	@echo "make test-pika-next  run the scripts' tests on the next pika, 1.5.0rc1"
	@echo "make sync            copy labs/kit/amqp.py into the three scripts"
	@echo "make lint            check the code's style"
	@echo "make test-versions   run the tests on RabbitMQ 3.10, 4.0 and 4.3"
	@echo "make speed           measure what the scripts are to reach (a quiet machine, minutes)"
	@echo "make clean           remove .venv, .venv-next and .broker, data and all"

demo: .venv/ready
	@$(BIN)/python labs/demo.py

test: .venv/ready-for-tests
	@$(PYTEST) $(PARALLEL) || { [ $$? = 1 ] && $(AGAIN); }

# Before a release. Not a test: it needs a machine that does nothing else, and a person who looks.
speed: .venv/ready
	@$(BIN)/python labs/measure.py --only sending,reading-unlimited,working-1,working-100,living,sharing

test-versions: .venv/ready-for-tests
	$(PYTEST) $(PARALLEL) --rabbitmq 3.10
	$(PYTEST) $(PARALLEL) --rabbitmq 4.0
	$(PYTEST) $(PARALLEL) --rabbitmq 4.3
	$(PYTEST) $(PARALLEL) --rabbitmq 4.3 --deny-transient

# pika 1.5 says at each start that BlockingConnection goes in 2.0; the scripts are pinned below it.
test-pika-next: .venv-next/ready
	@PYTHONWARNINGS=ignore::DeprecationWarning \
	  .venv-next/bin/python -m pytest -q $(PARALLEL) $(SCRIPT_TESTS)

.venv-next/ready: requirements.txt tests/requirements.txt
	@echo " [*] Making .venv-next, with the next pika ..."
	@$(PYTHON) -m venv .venv-next
	@.venv-next/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements.txt -r tests/requirements.txt
	@.venv-next/bin/python -m pip install --quiet --disable-pip-version-check pika==1.5.0rc1
	@touch $@

sync:
	@$(PYTHON) labs/kit/sync.py

lint: .venv/ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

broker: .venv/ready
	@$(BIN)/python labs/broker.py up

down:
	@$(PYTHON) labs/broker.py down

clean: down
	@rm -rf .venv .venv-next .broker

# What single labs need, and the tests alone.
MORE := $(wildcard labs/*/requirements*.txt) tests/requirements.txt

.venv/ready-for-tests: .venv/ready $(MORE)
	@echo " [*] Installing what single labs and the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(MORE:%=-r %) \
	  || { echo "make: the packages of $(MORE) could not be installed" >&2; \
	       echo "  try: the same again once the network is there" >&2; exit 1; }
	@touch $@

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "make: Python 3.10 or newer is needed" >&2; \
	       echo "  try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo " [*] Making .venv and installing requirements.txt ..."
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || { rm -rf .venv; echo "make: this Python cannot make a virtual environment" >&2; \
	       echo "  try: sudo apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt \
	  || { echo "make: the packages of requirements.txt could not be installed" >&2; \
	       echo "  try: the same again once the network is there" >&2; exit 1; }
	@touch $@
