"""Recordings of plan requests and replies as MCAP files, and their replay. Needs the extra `record`."""
