"""What a broker says about itself: the management API, counts of queues, the live view.

It imports kit.amqp and kit.cli, and kit.broker for the port of its management page.
"""
