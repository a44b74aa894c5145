"""Days of the whole daemon in seconds, from a seed: people, faults and crashes, and a watcher after every step."""
