#!/bin/sh
# What must happen before an agent can start: fetch and worktree.
set -eu
cd "$CLONE"
git fetch --quiet origin +refs/heads/main:refs/remotes/origin/main
git worktree add --quiet --no-track -b "$1" "$WORK/$1" refs/remotes/origin/main
