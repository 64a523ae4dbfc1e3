"""The reference, generated from the code: configuration, effects, rows and files, command line, API."""
