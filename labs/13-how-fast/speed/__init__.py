"""Measure programs for lab 13, and report the figures of a run.

It imports kit.amqp, kit.cli, kit.broker, kit.management and kit.timeline.
"""
