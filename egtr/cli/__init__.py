"""The ``egtr`` command: one file a subcommand. Parsing arguments imports no torch."""
