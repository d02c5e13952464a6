"""Start a RabbitMQ in one command: with Docker, installed, or unpacked from Debian packages.

It imports kit.cli and no third-party package, so that labs/broker.py needs only Python.
"""
