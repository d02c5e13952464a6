"""Ask a broker about its state: the management API, counts of queues, the live view.

It imports kit.amqp and kit.cli, and kit.broker for the port of its management page.
"""
