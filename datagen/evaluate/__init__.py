"""Published evaluations, run with one command on the data that they were published with, or on what is free."""
