"""Everything that speaks to git: the daemon's own mirror and the worktrees cut from it."""
