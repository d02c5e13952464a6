"""The parts that the conference site's services share, and the work of each service.

options      the options of a service: the broker, its port, its data, the addresses of the others
web          the HTTP answers for missing things and conflicts
database     a transaction on a service's own SQLite file
names        the names of the exchange and the queues
messages     the messages between the services, and the requests to them
site         the monolith's accounts and presentations, and its outbox
relay        publishes the outbox: kit.web.relay does the work
copies       the attendees service's copy of the accounts, and its badges
post         writes an e-mail and hands it to the mail server, once
"""
