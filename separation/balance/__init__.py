"""The mix balance: level of each stem with an interval, pan, width, course in time."""
