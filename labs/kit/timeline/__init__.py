"""Draw journals in the terminal or in a file; labs/journal.md describes their format.

It imports kit.cli only. Data flows through journal, replay, run and scene to terminal or picture.
"""
