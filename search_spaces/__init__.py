"""What a network is: choices, specs, the one walk over a network and its interpreters."""
