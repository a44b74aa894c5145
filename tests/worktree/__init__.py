"""Worktrees of the daemon's mirror, on real git."""
