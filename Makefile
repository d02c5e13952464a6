# Two commands are enough on a fresh Debian or Ubuntu machine: make demo, make test.

PYTHON ?= python3
BIN := .venv/bin
# Count the tests as they run, and end with a line for each failure.
PYTEST := -m pytest -q -o console_output_style=count --tb=short -rfE
# Run more tests at once than there are processors, because tests mostly wait. Keep the order of
# tests/conftest.py, where the longest tests come first.
PARALLEL := -n 8 --dist loadgroup --no-loadscope-reorder

SCRIPT_TESTS := $(addprefix tests/test_,standalone.py producer.py consumer.py qprocessor.py errors.py \
  broker_loss.py journal.py)

# The tests start thousands of Python programs: let these keep what they have compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test unpack python speed test-versions test-pika-next test-docker sync lint broker down clean

help:
	@echo "make demo            see it work: three workers, one is killed, nothing is lost"
	@echo "make test            run all tests"
	@echo "make broker          start a RabbitMQ and say how to connect (labs/broker.py up)"
	@echo "make down            stop it again; queues and messages are kept"
	@echo "make sync            copy labs/kit/amqp.py into the three scripts"
	@echo "make lint            check the code's style"
	@echo "make test-versions   run the tests on RabbitMQ 3.10, 4.0 and 4.3"
	@echo "make test-pika-next  run the scripts' tests on the next pika, 1.5.0rc1"
	@echo "make test-docker     run the compose files of the kit and the labs on Docker"
	@echo "make speed           measure the scripts against their targets (minutes, on an idle machine)"
	@echo "make clean           remove .venv, .venv-next and .broker, data and all"

demo: .venv/ready
	@$(BIN)/python labs/demo.py

test:
	@$(MAKE) --no-print-directory -j 2 .venv/ready-for-tests unpack
	@echo " [*] All tests, eight at a time, the longest first ..."
	@$(BIN)/python $(PYTEST) $(PARALLEL)

unpack: python
	@PYTHONPATH=labs $(PYTHON) tests/unpack.py

# For a release. Not a test: it needs an idle machine, and a person who reads the figures.
speed: .venv/ready
	@$(BIN)/python labs/measure.py --only sending,reading-unlimited,working-1,working-100,living,sharing

VERSIONS := "3.10" "4.0" "4.3" "4.3 --deny-transient"

test-versions: .venv/ready-for-tests
	@for version in $(VERSIONS); do \
	  echo " [*] All tests on RabbitMQ $$version ..."; \
	  $(BIN)/python $(PYTEST) $(PARALLEL) --rabbitmq $$version || exit 1; \
	done

test-docker: .venv/ready-for-tests
	@echo " [*] The compose files of the kit and the labs, on Docker ..."
	@$(BIN)/python $(PYTEST) --docker

# pika 1.5 warns at each start that 2.0 removes BlockingConnection; requirements.txt stays below 1.5.
test-pika-next: .venv-next/ready
	@echo " [*] The scripts' tests on pika 1.5.0rc1 ..."
	@PYTHONWARNINGS=ignore::DeprecationWarning \
	  .venv-next/bin/python $(PYTEST) $(PARALLEL) $(SCRIPT_TESTS)

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

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "make: Python 3.10 or newer is needed" >&2; \
	       echo "  try: make PYTHON=python3.12 ..." >&2; exit 1; }

# The packages that only single labs or the tests need.
MORE := $(wildcard labs/*/requirements*.txt) tests/requirements.txt

# Make .venv and install the requirements $(1), or say what is missing. compileall works on all
# processors, pip on one; some packages hold templates that are no Python.
define install
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || { rm -rf .venv; echo "make: this Python cannot make a virtual environment" >&2; \
	       echo "  try: sudo apt install python3-venv" >&2; exit 1; }
	@PIP_NO_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1:%=-r %) \
	  || { echo "make: the packages of $(1) could not be installed" >&2; \
	       echo "  try: the same again once the network is there" >&2; exit 1; }
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch .venv/ready
endef

.venv/ready: requirements.txt pyproject.toml | python
	@echo " [*] Making .venv and installing requirements.txt ..."
	$(call install,requirements.txt)

.venv/ready-for-tests: requirements.txt pyproject.toml $(MORE) | python
	@echo " [*] Making .venv and installing what the labs and the tests need ..."
	$(call install,requirements.txt $(MORE))
	@touch $@
