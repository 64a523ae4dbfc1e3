"""The verbs: what a person types and what a person sees.

The files named after what is done hold the verbs that are no stage; ``datagen/cli.py`` has those of the stages and is the door, and
``running`` holds what these share. Only here and there does anything know typer, rich or a terminal. What a verb does lies outside:
``datagen.stages``, ``datagen.console`` and others.
"""
