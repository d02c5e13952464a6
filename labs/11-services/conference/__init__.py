"""What the services of the conference site share, and the work that each of them does.

options      the options of a service: the broker, its port, its data, where the others are
web          what the applications answer when something is missing, or is in conflict
database     a transaction on a service's own SQLite file
names        what the exchange and the queues are called
messages     the messages between the services, and the requests to them
site         the monolith's accounts and presentations, and its outbox
relay        publishes the outbox: kit.web.relay does the work
copies       the attendees service's copy of the accounts, and its badges
post         writes an e-mail and hands it to the mail server, once
"""
