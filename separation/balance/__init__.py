"""The mix balance: level of each stem with an interval, pan, width, level over time."""
