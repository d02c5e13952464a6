"""A RabbitMQ in one command: with Docker, installed, or unpacked from Debian packages.

It imports kit.cli and, like labs/broker.py, nothing that has to be installed.
"""
