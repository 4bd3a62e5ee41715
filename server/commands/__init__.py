"""One file a subcommand of `telos`: its arguments and what it does."""
