#!/usr/bin/env bash
# prometheus.sh: provides Prometheus and promtool from Debian's package and the kinds of the Prometheus operator from its Go
# module, downloading once what is not there yet, and prints NAME=path lines.
# Knobs (environment):
#   SERVERS  where downloads are kept (default: a folder under XDG_CACHE_HOME)
#   PROMETHEUS_OPERATOR_VERSION  default v0.85.0
# Needs: Debian or Ubuntu, go. 330 MB in the caches.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
. "$HERE/debian.sh"

folder=$(debs prometheus prometheus)
module=github.com/prometheus-operator/prometheus-operator@${PROMETHEUS_OPERATOR_VERSION:-v0.85.0}
json=$(go mod download -json "$module") || die "$module cannot be downloaded: $(sed -n 's/.*"Error": //p' <<<"$json")"
echo "PROMETHEUS=$folder/usr/bin/prometheus"
echo "PROMTOOL=$folder/usr/bin/promtool"
echo "KINDS=$(sed -n 's/^\t"Dir": "\(.*\)",*/\1/p' <<<"$json")/example/prometheus-operator-crd"
