"""`telos demo`: a real server, simulated robots that plan with it, and a page that shows the episodes."""
