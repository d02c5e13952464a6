"""What the applications of labs 7 to 11 share: consumers and relays, pages, programs run together.

It imports kit.amqp and kit.cli only, so that an application can be copied out with it.
"""
