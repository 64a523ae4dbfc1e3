"""Sound files: read, write, containers, identity. The only room that opens them."""
