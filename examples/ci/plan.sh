#!/bin/sh
# plan.sh BASE COMMENT [flags of credreset plan]: plans the requests under resets/ that differ from commit BASE, and writes the comment for
# the pull request to file COMMENT. Exit code: that of credreset plan; a refused request fails the check.
set -eu
base=$1 comment=$2
shift 2
code=0
credreset plan resets --base "$base" --output markdown "$@" >"$comment" || code=$?
if [ "$code" = 1 ]; then echo "The resets of this change could not be planned: see the job's log." >"$comment"; fi
exit "$code"
