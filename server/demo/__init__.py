"""`telos demo`: the real server, simulated robots that ask it for plans, and a page that shows what happened."""
