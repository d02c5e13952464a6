"""Journals in, a picture out, in the terminal or in a file: labs/journal.md has the format.

It imports kit.cli only. The way: journal, replay, run, scene, and then terminal or picture.
"""
