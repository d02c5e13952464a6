"""Measuring for lab 13: programs at work, what is measured of them, and the report of a run.

It imports kit.amqp, kit.cli, kit.broker and kit.management.
"""
