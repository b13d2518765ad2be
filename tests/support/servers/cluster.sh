#!/usr/bin/env bash
# cluster.sh COMMAND: a real Kubernetes API (etcd, kube-apiserver, controller manager) on loopback; no nodes, no root.
#   up                    start, or start again on the data that is there; prints KEY=value lines
#   kill                  SIGKILL the API server, as in a crash; `up` starts it again on the same port
#   stop                  end the processes, keep the data          down    end them and delete everything
#   run CMD...            up, CMD with KUBECONFIG set, down: also if CMD fails, on a signal, and on SIGKILL
#   kubeconfig            print the path of the administrator's kubeconfig
#   user NAME [GROUP...]  make and print the path of a kubeconfig for a user with a client certificate
#   sa NAMESPACE NAME     the same for an existing ServiceAccount, with a token of 24 hours
# Knobs (environment), and those of build.sh:
#   INSTANCE            name of this cluster, so that several run side by side (default: main; `run` makes one up)
#   CLUSTERS_RUN        where the instances live (default: a folder under TMPDIR)
#   COPY_OF             another instance, that was stopped: the new one begins with its data
#   CONTROLLER_MANAGER  0 leaves it out: faster, but namespaces stay Terminating and owned objects stay behind
#   ETCD_FSYNC          1 makes etcd write through to the disk (slower, survives a power cut)
#   APISERVER_ARGS      more flags for kube-apiserver, one a line: a path may hold blanks
#   DIE_WITH            a pid: once that process is gone, the cluster goes `down` by itself
set -euo pipefail

[ "${1:-}" != run ] || INSTANCE=${INSTANCE:-run-$$}
export INSTANCE=${INSTANCE:-main}
export CLUSTERS_RUN=${CLUSTERS_RUN:-${TMPDIR:-/tmp}/credreset-clusters-$(id -u)}
DIR=$CLUSTERS_RUN/$INSTANCE
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
export KUBECACHEDIR=$DIR/kube-cache # kubectl keeps what it discovers by port, and ports come back
PARTS="controller-manager apiserver etcd" # in the order in which they are stopped

pki() {
  authority
  openssl ecparam -genkey -name prime256v1 -noout -out "$DIR/pki/sa.key"
  server_certificate /CN=kube-apiserver
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
}

# kubeconfig NAME: prints one with the client certificate NAME, or, with TOKEN set, with that token
kubeconfig() {
  local b64="base64 -w0"
  cat <<END
apiVersion: v1
kind: Config
current-context: $INSTANCE
contexts: [{name: $INSTANCE, context: {cluster: $INSTANCE, user: user}}]
clusters: [{name: $INSTANCE, cluster: {server: "https://127.0.0.1:$(cat "$DIR/port")", certificate-authority-data: $($b64 "$DIR/pki/ca.pem")}}]
END
  if [ -n "${TOKEN:-}" ]; then
    echo "users: [{name: user, user: {token: $TOKEN}}]"
  else
    echo "users: [{name: user, user: {client-certificate-data: $($b64 "$DIR/pki/$1.pem"), client-key-data: $($b64 "$DIR/pki/$1.key")}}]"
  fi
}

binaries() { # sets ETCD, KUBE_APISERVER, ... to paths
  local lines name path
  lines=$("$HERE/build.sh" "$@")
  while IFS='=' read -r name path; do declare -g "$name=$path"; done <<<"$lines"
}
admin() { "$KUBECTL" --kubeconfig "$DIR/admin.kubeconfig" "$@"; }
# answers PATH: the API server says yes. It is asked twenty times a second while it starts, and kubectl takes much longer to start.
answers() {
  curl -fs -m 5 --noproxy '*' --cacert "$DIR/pki/ca.pem" --cert "$DIR/pki/admin.pem" --key "$DIR/pki/admin.key" \
    "https://127.0.0.1:$(cat "$DIR/port")$1"
}

apiserver() { # starts it; on a new cluster another program may take the port first: then tries another one
  local more=()
  [ -z "${APISERVER_ARGS:-}" ] || mapfile -t more <<<"$APISERVER_ARGS"
  for _ in 1 2 3 4 5; do
    [ -e "$DIR/port" ] || free_port >"$DIR/port"
    kubeconfig admin >"$DIR/admin.kubeconfig"
    start apiserver "$KUBE_APISERVER" --bind-address=127.0.0.1 --secure-port="$(cat "$DIR/port")" \
      --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --service-cluster-ip-range=10.0.0.0/24 \
      --etcd-servers="unix://$DIR/etcd.sock" --authorization-mode=RBAC --allow-privileged=true \
      --tls-cert-file="$DIR/pki/server.pem" --tls-private-key-file="$DIR/pki/server.key" --client-ca-file="$DIR/pki/ca.pem" \
      --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file="$DIR/pki/sa.key" \
      --service-account-key-file="$DIR/pki/sa.key" "${more[@]}"
    if until_ok apiserver answers /readyz && until_ok apiserver answers /api/v1/namespaces/default; then return; fi
    if [ -e "$DIR/ready" ] || ! tail -n 5 "$DIR/apiserver.log" | grep -q 'address already in use'; then failed apiserver; fi
    rm "$DIR/port"
  done
  failed apiserver
}

up() {
  local fsync=--unsafe-no-fsync unused=http://127.0.0.1:1 part
  [ ${#DIR} -lt 90 ] || die "$DIR is too long a path for a socket: set CLUSTERS_RUN or TMPDIR"
  [ "${ETCD_FSYNC:-0}" = 0 ] || fsync=
  [ "${CONTROLLER_MANAGER:-1}" = 0 ] || binaries kube-controller-manager
  binaries etcd kube-apiserver kubectl
  mkdir -p "$DIR"
  die_with # first, so that it sees us fail, too
  if [ -n "${COPY_OF:-}" ] && [ ! -e "$DIR/etcd" ]; then
    cp -r --sparse=always "$CLUSTERS_RUN/$COPY_OF/etcd" "$DIR" # its log is a file of 64 MB, most of them nothing
  fi
  [ -e "$DIR/pki/controller-manager.pem" ] || pki
  if ! alive "$DIR/etcd.pid"; then
    start etcd "$ETCD" --data-dir="$DIR/etcd" --log-level=warn $fsync --listen-client-urls="unix://$DIR/etcd.sock" \
      --listen-peer-urls="unix://$DIR/peer.sock" --advertise-client-urls=$unused --initial-advertise-peer-urls=$unused \
      --initial-cluster=default=$unused # a single member is not dialled; etcd 3.6 refuses to advertise a socket
    until_ok etcd test -S "$DIR/etcd.sock" || failed etcd
  fi
  alive "$DIR/apiserver.pid" || apiserver
  if [ -n "${KUBE_CONTROLLER_MANAGER:-}" ] && ! alive "$DIR/controller-manager.pid"; then
    kubeconfig controller-manager >"$DIR/controller-manager.kubeconfig"
    # Only what makes namespaces, tokens, owners, aggregated roles, admission policies and migrations behave. No nodes: no workloads.
    start controller-manager "$KUBE_CONTROLLER_MANAGER" --kubeconfig="$DIR/controller-manager.kubeconfig" --leader-elect=false \
      --secure-port=0 --use-service-account-credentials --root-ca-file="$DIR/pki/ca.pem" --service-account-private-key-file="$DIR/pki/sa.key" \
      --controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller,storage-version-migrator-controller
    until_ok controller-manager answers /api/v1/namespaces/default/serviceaccounts/default || failed controller-manager
  fi
  touch "$DIR/ready"
  echo "KUBECONFIG=$DIR/admin.kubeconfig"
  echo "KUBE_URL=https://127.0.0.1:$(cat "$DIR/port")"
  echo "KUBE_CA_FILE=$DIR/pki/ca.pem"
  echo "KUBE_LOGS=$DIR"
  echo "KUBECACHEDIR=$KUBECACHEDIR"
  echo "KUBECTL=$KUBECTL"
  for part in etcd apiserver controller-manager; do
    ! alive "$DIR/$part.pid" || echo "$(tr a-z- A-Z_ <<<"$part")_PID=$(cut -d' ' -f1 "$DIR/$part.pid")"
  done
}

down() {
  # shellcheck disable=SC2086 # words
  end_parts $PARTS
  rm -rf "$DIR"
  rmdir "$CLUSTERS_RUN" 2>/dev/null || true
}

run() {
  local child code=0
  [ $# != 0 ] || die "run what?"
  [ ! -e "$DIR" ] || die "$INSTANCE exists already"
  trap 'code=$?; trap - EXIT; down; exit $code' EXIT
  DIE_WITH=$$ up >/dev/null
  KUBECONFIG=$DIR/admin.kubeconfig PATH=$(dirname "$KUBECTL"):$PATH "$@" <&0 &
  child=$!
  trap 'kill -TERM $child 2>/dev/null || true' INT TERM HUP
  while kill -0 $child 2>/dev/null; do wait $child && code=0 || code=$?; done
  exit "$code"
}

case ${1:-} in
  up | down) "$1" ;;
  stop) for part in $PARTS; do end "$DIR/$part.pid" TERM; done ;;
  kill) end "$DIR/apiserver.pid" KILL ;;
  run) run "${@:2}" ;;
  kubeconfig) echo "$DIR/admin.kubeconfig" ;;
  user)
    shift
    [ $# != 0 ] || die "user NAME [GROUP...]"
    [ -e "$DIR/ready" ] || die "$INSTANCE is not up"
    file=user-$(tr -c 'A-Za-z0-9.\n-' _ <<<"$1")
    subject=/CN=${1//\//\\/}
    for group in "${@:2}"; do subject+=/O=${group//\//\\/}; done
    certificate "$file" "$subject"
    kubeconfig "$file" >"$DIR/$file.kubeconfig"
    echo "$DIR/$file.kubeconfig" ;;
  sa)
    [ $# = 3 ] || die "sa NAMESPACE NAME"
    binaries kubectl
    TOKEN=$(admin create token -n "$2" "$3" --duration=24h)
    kubeconfig "" >"$DIR/sa-$2-$3.kubeconfig"
    echo "$DIR/sa-$2-$3.kubeconfig" ;;
  _watch) watch "${@:2}" ;;
  *) sed -n '2,19s/^# \?//p' "$0"; exit 2 ;;
esac
