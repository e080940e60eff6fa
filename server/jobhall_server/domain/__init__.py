"""Jobs, sessions and their moves as pure values and functions: no I/O, no clock, no randomness."""
