#!/usr/bin/env bash
# demo.sh: resets carried out on a real kube-apiserver, with the sandbox as directory. Ends by itself; fails if anything is
# not as it says; leaves nothing running. KEEP=1 keeps cluster, operator and sandbox up until Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export INSTANCE=demo-$$ DIE_WITH=$$
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY # everything here is on loopback
dir=$(mktemp -d)
bin=$PWD/target/debug/credreset
cluster=tests/env/cluster.sh
pids=()
finish() {
  code=$?
  trap '' INT TERM HUP # what is ended here is ended whole
  trap - EXIT
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  "$cluster" down >/dev/null 2>&1 || true
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
  out=$("$@" 2>&1) || { echo "$out"; echo "demo: the command failed" >&2; exit 1; }
  echo "$out"
  grep -qF -- "$wanted" <<<"$out" || { echo "demo: expected to see: $wanted" >&2; exit 1; }
}
# until_said PID FILE TEXT: waits until the process has written TEXT; fails if it ends before
until_said() {
  until grep -q "$3" "$2"; do
    kill -0 "$1" 2>/dev/null || { echo "demo: a process ended before it was ready:" >&2; cat "$2" "$dir/sandbox.log" >&2; exit 1; }
    sleep 0.05
  done
}
calls() { curl -sf "$sandbox/sandbox/counts" | python3 -c 'import json,sys; d=json.load(sys.stdin); print(*(f"{k}={d.get(k,0)}" for k in ("reset-password","reset-mfa")))'; }
user() { curl -sf "$sandbox/sandbox/users/700012399" | python3 -c 'import json,sys; u=json.load(sys.stdin); print(*(f"{k}={u[k]}" for k in ("passwordResets","mustChange","webSessions","mobileSessions","apiTokens","factors")))'; }
manifest() { sed "s/2026-11-24T09:00:00Z/$now/" "examples/zoho-sandbox/$1.yaml"; }

say "1. A real API server, the sandbox as directory, and the operator"
tests/env/build.sh >/dev/null
up=$("$cluster" up) # on a line of its own: if it fails, kubectl must not go to the caller's cluster
value() { sed -n "s/^$1=//p" <<<"$up"; }
KUBECONFIG=$(value KUBECONFIG) KUBECACHEDIR=$(value KUBECACHEDIR) KUBECTL=$(value KUBECTL)
export KUBECONFIG KUBECACHEDIR
PATH=$(dirname "$KUBECTL"):$PATH
"$bin" sandbox --listen 127.0.0.1:0 >"$dir/sandbox.out" 2>"$dir/sandbox.log" &
pids+=($!)
until_said $! "$dir/sandbox.out" '^listening on '
sandbox=$(sed -n 's/^listening on //p' "$dir/sandbox.out")
"$bin" crds | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/credentialresets.credreset.dev crd/directories.credreset.dev crd/credentialresetrecords.credreset.dev >/dev/null
kubectl apply -f examples/operator/rbac.yaml -f examples/operator/helpdesk.yaml >/dev/null
sed "s#http://127.0.0.1:8090#$sandbox#" examples/zoho-sandbox/directory.yaml | kubectl apply -f - >/dev/null
operator=$("$cluster" sa credreset-system credreset)
KUBECONFIG=$operator "$bin" run --listen 127.0.0.1:0 --log-format json --log info 2>"$dir/operator.log" &
pids+=($!)
until_said $! "$dir/operator.log" '"listen"'
run kubectl wait --for=condition=Ready --timeout=60s directory/zylker
expect Connected kubectl get directories

say "2. A password reset: generated, delivered to a Secret, sessions cleared"
now=$(date -u +%FT%TZ)
manifest annette-password | tee "$dir/password.yaml" | sed -n '/^spec:/,$p'
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk creset/annette-locked-out
expect Applied kubectl get creset -n helpdesk annette-locked-out
expect annette-password kubectl get secret -n helpdesk annette-password
echo "at the directory: $(user)"
grep -q 'passwordResets=1 mustChange=True webSessions=0 mobileSessions=0 apiTokens=0' <<<"$(user)" || { echo "demo: the directory shows something else" >&2; exit 1; }

say "3. An MFA reset"
manifest annette-mfa | kubectl apply -f - >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk creset/annette-lost-phone
expect Applied kubectl get creset -n helpdesk annette-lost-phone
grep -q 'factors=\[\]' <<<"$(user)" || { echo "demo: the directory still shows factors" >&2; exit 1; }

say "4. A user who has not confirmed the account: refused"
manifest bruno-unconfirmed | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Stalled --timeout=60s -n helpdesk creset/bruno-unconfirmed >/dev/null
expect UserNotConfirmed kubectl get creset -n helpdesk bruno-unconfirmed
expect 'nothing was sent' kubectl get creset -n helpdesk bruno-unconfirmed -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}{"\n"}'

say "5. The same request, deleted and created again: nothing is done twice"
before=$(calls)
run kubectl delete creset -n helpdesk annette-locked-out
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk creset/annette-locked-out
expect AlreadyApplied kubectl get creset -n helpdesk annette-locked-out
after=$(calls)
[ "$before" = "$after" ] || { echo "demo: calls before: $before, after: $after" >&2; exit 1; }

say "6. What the directory counted, and the ledger"
echo "calls: $after"
[ "$after" = "reset-password=1 reset-mfa=1" ] || { echo "demo: expected one call of each kind" >&2; exit 1; }
expect Response kubectl get crecord -n credreset-system
say "All as it should be."

if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then
  cat <<END

Kept up until Ctrl-C. Look around:
  the directory  $sandbox/
  the cluster    export KUBECONFIG=$KUBECONFIG
                 kubectl get creset -A -o wide; kubectl get crecord -A
                 sed "s/2026-11-24T09:00:00Z/\$(date -u +%FT%TZ)/" examples/zoho-sandbox/annette-mfa.yaml | kubectl apply -f -
END
  wait "${pids[-1]}"
fi
