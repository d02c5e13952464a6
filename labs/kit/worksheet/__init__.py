"""Read a worksheet (a lab's README.md), lay out tmux panes for it, and play it in them.

It imports kit.cli, and kit.broker to find the broker and to unpack tmux.
"""
