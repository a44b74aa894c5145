#!/bin/sh
# One item by hand: the git work, the agent and the pull request, and nothing else.
# Usage: item.sh NAME      With CLONE, WORK, API, TOKEN and AGENT set; the clone knows the remote and its credential.
set -eu
cd "$CLONE"
git fetch --quiet origin +refs/heads/main:refs/remotes/origin/main
git worktree add --quiet --no-track -b "$1" "$WORK/$1" refs/remotes/origin/main
cd "$WORK/$1"
echo '{"type": "user"}' | $AGENT -p >"$WORK/$1.log"
git add --all
git commit --quiet --message "Work of $1"
git push --quiet origin "HEAD:refs/heads/$1"
curl --silent --show-error --fail --output /dev/null --header "Authorization: Bearer $TOKEN" \
  --data "{\"title\": \"$1\", \"head\": \"$1\", \"base\": \"main\"}" "$API/repos/acme/app/pulls"
