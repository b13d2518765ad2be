#!/usr/bin/env bash
# demo.sh: resets carried out on a real kube-apiserver. Ends by itself; fails if anything is not as it says; leaves nothing
# running. DIRECTORY=sandbox (the default) or keycloak: what differs is in demo-DIRECTORY.sh. KEEP=1 keeps all of it up until
# Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
parts=tests/env/demo-${DIRECTORY:=sandbox}.sh
[ -e "$parts" ] || { echo "demo: DIRECTORY is sandbox or keycloak" >&2; exit 2; }

export INSTANCE=demo-$$ DIE_WITH=$$
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY # everything here is on loopback
dir=$(mktemp -d)
bin=$PWD/target/debug/credreset
cluster=tests/env/cluster.sh
pids=() servers=("$cluster")
finish() {
  code=$?
  trap '' INT TERM HUP # what is ended here is ended whole
  trap - EXIT
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  for server in "${servers[@]}"; do "$server" down >/dev/null 2>&1 || true; done
  case $code in 0 | 130) ;; *) echo; echo "demo: FAILED. The operator said:"; grep -v '"TRACE"\|"DEBUG"' "$dir/operator.log" 2>/dev/null | tail -n 20 ;;
  esac
  rm -rf "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
# expect WANTED command...: prints what the command prints, which must hold WANTED
expect() {
  local wanted=$1 out
  shift
  printf '$ %s\n' "$*"
  out=$("$@" 2>&1) || { echo "$out"; failed "the command failed"; }
  echo "$out"
  grep -qF -- "$wanted" <<<"$out" || failed "expected to see: $wanted"
}
failed() { echo "demo: $*" >&2; exit 1; }
value() { sed -n "s/^$1=//p" <<<"$2"; } # value NAME LINES: of NAME=value
# name_of REQUEST: that of the object in its example
name_of() { sed -n 's/^metadata: {name: \([^,}]*\).*/\1/p' "$examples/$1.yaml"; }
# until_said PID FILE TEXT: waits until the process has written TEXT; fails if it ends before
until_said() {
  until grep -q "$3" "$2"; do
    kill -0 "$1" 2>/dev/null || { echo "demo: a process ended before it was ready:" >&2; cat "$2" >&2; exit 1; }
    sleep 0.05
  done
}
manifest() { sed "s/2026-11-24T09:00:00Z/$now/" "$examples/$1.yaml"; }

. "$parts"
locked_out=$(name_of "$password") lost_phone=$(name_of "$mfa") unconfirmed=$(name_of "$refused")

say "1. A real API server, $what, and the operator"
tests/env/build.sh >/dev/null
up=$("$cluster" up) # on a line of its own: if it fails, kubectl must not go to the caller's cluster
KUBECONFIG=$(value KUBECONFIG "$up") KUBECACHEDIR=$(value KUBECACHEDIR "$up") KUBECTL=$(value KUBECTL "$up")
export KUBECONFIG KUBECACHEDIR
PATH=$(dirname "$KUBECTL"):$PATH
serve
"$bin" crds | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/credentialresets.credreset.dev crd/directories.credreset.dev crd/credentialresetrecords.credreset.dev >/dev/null
kubectl apply -f examples/operator >/dev/null
connection | kubectl apply -f - >/dev/null
operator=$("$cluster" sa credreset-system credreset)
KUBECONFIG=$operator "$bin" run --listen 127.0.0.1:0 --log-format json --log info 2>"$dir/operator.log" &
pids+=($!)
until_said $! "$dir/operator.log" '"listen"'
run kubectl wait --for=condition=Ready --timeout=60s "directory/$directory"
expect Connected kubectl get directories

say "2. A password reset: generated, delivered to a Secret, sessions cleared"
before_password
now=$(date -u +%FT%TZ)
manifest "$password" | tee "$dir/password.yaml" | sed -n '/^spec:/,$p'
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$locked_out"
expect Applied kubectl get creset -n helpdesk "$locked_out"
expect "$password" kubectl get secret -n helpdesk "$password"
after_password

say "3. An MFA reset"
before_mfa
manifest "$mfa" | kubectl apply -f - >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$lost_phone"
expect Applied kubectl get creset -n helpdesk "$lost_phone"
after_mfa

say "4. $refusal: refused"
manifest "$refused" | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Stalled --timeout=60s -n helpdesk "creset/$unconfirmed" >/dev/null
expect UserNotConfirmed kubectl get creset -n helpdesk "$unconfirmed"
expect 'nothing was sent' kubectl get creset -n helpdesk "$unconfirmed" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}{"\n"}'

say "5. The same request, deleted and created again: nothing is done twice"
before=$(calls)
run kubectl delete creset -n helpdesk "$locked_out"
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$locked_out"
expect AlreadyApplied kubectl get creset -n helpdesk "$locked_out"
after=$(calls)
[ "$before" = "$after" ] || failed "calls before: $before, after: $after"

say "6. What the directory counted, and the ledger"
echo "calls: $after"
[ "$after" = "$one_of_each" ] || failed "expected $one_of_each"
expect Response kubectl get crecord -n credreset-system
say "All as it should be."

if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then
  cat <<END

Kept up until Ctrl-C. Look around:
  the directory  $(address)
  the cluster    export KUBECONFIG=$KUBECONFIG
                 kubectl get creset -A -o wide; kubectl get crecord -A
                 sed "s/2026-11-24T09:00:00Z/\$(date -u +%FT%TZ)/" $examples/$mfa.yaml | kubectl apply -f -
END
  wait "${pids[-1]}"
fi
