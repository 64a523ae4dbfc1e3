"""The catalog: listings of every layout of a songs folder, and the tracks that come of them."""
