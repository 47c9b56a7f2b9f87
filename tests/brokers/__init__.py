"""Brokers that prove the contract suite of brokers: an honest one with a server, and careless ones."""
