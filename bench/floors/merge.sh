#!/bin/sh
# Merge pull requests by hand, one after the other: NUMBER:SHA each. COMMAND runs on each merge result.
set -eu
cd "$CLONE"
for pull in "$@"; do
  number=${pull%%:*} sha=${pull##*:}
  git fetch --quiet origin +refs/heads/main:refs/remotes/origin/main "+refs/pull/$number/head:refs/remotes/pull/$number"
  git worktree add --quiet --detach "$WORK/merge-$number" refs/remotes/origin/main
  (cd "$WORK/merge-$number" && git merge --quiet --no-edit "$sha" && sh -c "$COMMAND")
  curl --silent --show-error --fail --output /dev/null --request PUT --header "Authorization: Bearer $TOKEN" \
    --data "{\"sha\": \"$sha\", \"merge_method\": \"squash\"}" "$API/repos/acme/app/pulls/$number/merge"
  git worktree remove --force "$WORK/merge-$number"
done
