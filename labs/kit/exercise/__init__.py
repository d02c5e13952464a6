"""A student's program: run it, watch it from outside and on the wire, check it.

It imports kit.cli, and kit.broker to find and restart the lab's broker.
"""
