#!/bin/sh
# plan.sh BASE COMMENT [flags of credreset plan]: plans the requests under resets/ that differ from commit BASE, and writes the comment for
# the pull request to file COMMENT, and beside it whole.md, with every request. PLAN_LINK is the address at which people find that.
# Exit code: that of credreset plan; a refused request fails the check.
set -eu
base=$1 comment=$2
shift 2
whole=$(dirname "$comment")/whole.md
code=0
credreset plan resets --base "$base" --output markdown --whole "$whole" ${PLAN_LINK:+--link "$PLAN_LINK"} "$@" >"$comment" || code=$?
if [ "$code" = 1 ]; then echo "The resets of this change could not be planned: see the job's log." | tee "$whole" >"$comment"; fi
exit "$code"
