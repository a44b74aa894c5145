#!/bin/sh
# Take away what an item left; never timed.
set -eu
cd "$CLONE"
git worktree remove --force "$WORK/$1"
git branch --quiet -D "$1"
