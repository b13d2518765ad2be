#!/bin/sh
# audit.sh FOLDER [MONTH]: keeps the report of a month, by default the last one, as FOLDER/MONTH.csv and FOLDER/MONTH.html. What is kept
# is never written again. Exit code: that of credreset audit. Of a month that the records do not cover, or that has not ended, nothing is
# kept. Run it once a month as an account with ClusterRole credreset-audit, and keep FOLDER where no one can change it (docs/auditors.md).
set -eu
folder=$1
this=$(date -u +%Y-%m)
year=${this%-*} number=${this#*-}
case $number in
01) last=$((year - 1))-12 ;;
*) last=$year-$(printf %02d $((${number#0} - 1))) ;;
esac
month=${2:-$last}
case $month in
[0-9][0-9][0-9][0-9]-[01][0-9]) ;;
*) echo "audit.sh: $month is not a month such as 2026-07" >&2 && exit 1 ;;
esac
# As numbers: 202607 is before 202608.
if [ "${month%-*}${month#*-}" -ge "$year$number" ]; then
  echo "audit.sh: $month has not ended" >&2
  exit 1
fi
mkdir -p "$folder"
for format in csv html; do
  file=$folder/$month.$format
  if [ -e "$file" ]; then continue; fi
  code=0
  credreset audit --month "$month" --output "$format" >"$file.part" || code=$?
  if [ "$code" != 0 ]; then
    rm -f "$file.part"
    exit "$code"
  fi
  mv "$file.part" "$file"
done
