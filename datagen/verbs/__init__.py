"""The verbs: what a person types and what a person sees. Each file has some of them; ``datagen/cli.py`` is the door.

Only here does anything know typer, rich or a terminal. What a verb does lies outside: ``datagen.stages``, ``datagen.console`` and others.
"""
