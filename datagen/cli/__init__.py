"""The command line: its verbs and their output.

The files named after what is done hold the verbs that are no stage; ``datagen/cli/app.py`` has those of the stages and is the entry point,
and ``running`` has what these share. Nothing else knows typer, rich or a terminal. What a verb does is implemented elsewhere:
``stemwright.datagen.run.stages``, ``stemwright.datagen.inverse.console`` and others.
"""
