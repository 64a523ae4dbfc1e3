"""Stems that a multitrack brings along: read as one, compared with their mixture, mended where that is certain, refused if foreign."""
