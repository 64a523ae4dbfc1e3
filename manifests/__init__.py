"""Records, tables and sound files: which recordings exist, where they are, and what is known about them."""

__version__ = "0.1.0"
