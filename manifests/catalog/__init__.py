"""The catalog: listings of every layout of a songs folder, and the tracks made from them."""
