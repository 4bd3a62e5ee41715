"""Plans as they were asked for and answered, kept as MCAP files and asked again. Needs the extra `telos[record]`."""
