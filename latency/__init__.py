"""How long a network takes, and where."""
