"""Four seconds of a real song in two stems, ``guitar.ogg`` and ``backing.ogg``: its mix clips. Author and licence: ``LICENCE.txt``."""
