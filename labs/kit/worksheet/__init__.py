"""A worksheet (README.md of a lab) as a program: read it, lay out tmux panes, play it in them.

It imports kit.cli, and kit.broker to find the broker and to unpack tmux.
"""
