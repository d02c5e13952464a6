"""A worksheet (README.md of a lab) as a program: read it, lay out tmux panes, play it in them.

It imports kit.amqp and kit.cli, kit.broker to find the broker and to unpack tmux, and
kit.management to look at queues.
"""
