"""Published rules of mixing as data, the quantities that they speak of, and whether a recording or a corpus keeps them."""
