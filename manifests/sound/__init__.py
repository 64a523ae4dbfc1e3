"""Sound files: read, write, containers, identity. The only package that opens them."""
