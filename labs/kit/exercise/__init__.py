"""Run a student's program, watch it from outside and on the wire, and check it.

It imports kit.cli, and kit.broker to find and restart the lab's broker.
"""
