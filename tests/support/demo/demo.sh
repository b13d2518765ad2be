#!/usr/bin/env bash
# demo.sh: resets carried out on a real kube-apiserver. Ends by itself; fails if anything is not as it says; leaves nothing
# running. DIRECTORY=sandbox (the default), keycloak, openldap or samba: what differs is in DIRECTORY.sh, in this folder. KEEP=1 keeps all
# of it up until Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
parts=tests/support/demo/${DIRECTORY:=sandbox}.sh
[ -e "$parts" ] || { echo "demo: DIRECTORY is sandbox, keycloak, openldap or samba" >&2; exit 2; }

export INSTANCE=demo-$$ DIE_WITH=$$
dir=$(mktemp -d)
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug/credreset
cluster=tests/support/servers/cluster.sh
pids=() servers=("$cluster")
finish() {
  code=$?
  trap '' INT TERM HUP # what is ended here is ended whole
  trap - EXIT
  for pid in "${pids[@]}"; do kill -- "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  for server in "${servers[@]}"; do "$server" down >/dev/null 2>&1 || true; done
  case $code in 0 | 130) ;; *)
    echo "demo: FAILED"
    [ ! -s "$dir/operator.log" ] || { echo "The log of the operator:" && grep -v '"TRACE"\|"DEBUG"' "$dir/operator.log" | tail -n 20; } || true ;;
  esac >&2
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
  until grep -qs "$3" "$2"; do
    kill -0 "$1" 2>/dev/null || { echo "demo: a process ended before it was ready:" >&2; cat "$2" >&2; exit 1; }
    sleep 0.05
  done
}
# seen WHAT WANTED command...: shows what the command prints, which must be WANTED
seen() {
  local out
  out=$("${@:3}")
  printf '  %-62s %s\n' "$1" "$out"
  [ "$out" = "$2" ] || failed "expected to see: $2"
}
on_loopback() { unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; } # what follows is
# The real directory of this name.
start_server() {
  up=$("tests/support/servers/$DIRECTORY.sh" up)
  on_loopback
  servers+=("tests/support/servers/$DIRECTORY.sh")
}
start_ldap_server() {
  start_server
  url=$(value LDAPS_URL "$up") ca=$(value CA_FILE "$up") admin=$(value ADMIN_DN "$up") admin_password=$(value ADMIN_PASSWORD "$up")
}
# ldap_directory ADDRESS: the example's Directory, at our server instead of ADDRESS. Its rule lets MFA through, too, so that it is
# the directory that visibly refuses it.
ldap_directory() {
  sed -e "s#$1#$url#" -e 's/modes: \[Password\]/modes: [Password, MFA]/' \
    -e "s|# caBundle: .*|caBundle: \"$(awk -v ORS='\\\\n' 1 "$ca")\"|" "$examples/directory.yaml"
}
# Ann, in the directory's own words: she signs in, and is locked out when an attacker guesses.
locked_out_by_guesses() {
  seen "Ann signs in" "$welcome" sign_in ann "$ann_old"
  until is_locked_out; do sign_in ann guess >/dev/null; done
  seen "an attacker guesses, so that she is locked out: her own password" "$locked_out" sign_in ann "$ann_old"
}
let_in_to_change() {
  seen "her old password" "$wrong" sign_in ann "$ann_old"
  seen "the new one, which she must change first" "$must_change" sign_in ann "$(new_password)"
}
new_password() { kubectl get secret -n helpdesk "$password" -o 'jsonpath={.data.password}' | base64 -d; }
# expect_refused NAME REASON: the request on stdin is not carried out
expect_refused() {
  kubectl apply -f - >/dev/null
  kubectl wait --for=condition=Stalled --timeout=60s -n helpdesk "creset/$1" >/dev/null
  expect "$2" kubectl get creset -n helpdesk "$1"
  expect 'nothing is sent' kubectl get creset -n helpdesk "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}{"\n"}'
}
manifest() { sed "s/2026-11-24T09:00:00Z/$now/" "$examples/$1.yaml"; }

# Builds what the demo runs and is not there yet, our own program and the servers side by side.
build() {
  local parts=(etcd kube-apiserver kubectl) todo=() part seconds=0 begin=$SECONDS own servers
  for part in cargo cc python3 openssl curl; do command -v "$part" >/dev/null || failed "needs $part"; done
  local -A takes=([credreset]=140 [etcd]=40 [kube-apiserver]=240 [kubectl]=20) # seconds of two cores
  [ -x "$bin" ] || todo=(credreset)
  # shellcheck disable=SC2207 # words
  todo+=($(tests/support/servers/build.sh --missing "${parts[@]}"))
  for part in "${todo[@]}"; do seconds=$((seconds + takes[$part])); done
  [ ${#todo[@]} = 0 ] || cat <<END
Built first, once: ${todo[*]}. On two cores that takes some $(((seconds + 59) / 60)) minutes, and needs downloads.
Kept for the next time: servers in ${XDG_CACHE_HOME:-~/.cache}/credreset, credreset in target, sources where cargo and go keep them.
END
  touch "$dir/cargo.log" "$dir/build.log"
  # In sessions of their own, so that they end whole.
  setsid cargo build >"$dir/cargo.log" 2>&1 &
  own=$!
  setsid tests/support/servers/build.sh "${parts[@]}" >/dev/null 2>"$dir/build.log" &
  servers=$!
  pids+=("-$own" "-$servers")
  for ((shown = 0; ; )); do
    progress $((SECONDS - begin))
    if [ -n "$own" ] && ! kill -0 "$own" 2>/dev/null; then
      wait "$own" || { tail -n 30 "$dir/cargo.log" >&2; failed "credreset cannot be built (see above)"; }
      own=""
      ! grep -q Compiling "$dir/cargo.log" || note "credreset: built in $((SECONDS - begin)) s"
    fi
    if [ -n "$servers" ] && ! kill -0 "$servers" 2>/dev/null; then
      wait "$servers" || { tail -n 30 "$dir/build.log" >&2; failed "a server cannot be built (see above)"; }
      servers=""
    fi
    [ -n "$own$servers" ] || break
    sleep 0.2
  done
  progress $((SECONDS - begin))
  [ ! -t 1 ] || printf '\r\033[K'
  pids=()
}
note() { # note LINE: for good, above what is written over
  [ ! -t 1 ] || printf '\r\033[K'
  echo "  $1"
}
# progress SECOND: a line for each server that is done since the last call; on a terminal also how far the others are.
progress() {
  local lines line
  mapfile -t lines < <(sed -n 's/^build: \(.*: built in .*\)/\1/p' "$dir/build.log")
  for line in "${lines[@]:shown}"; do note "$line"; done
  shown=${#lines[@]}
  if [ -t 1 ] && { grep -q Compiling "$dir/cargo.log" || [ -s "$dir/build.log" ]; }; then
    printf '\r\033[K  %s s: credreset %s crates' "$1" "$(grep -c Compiling "$dir/cargo.log")"
    sed -n '$s/^build: \(.*\)/, \1/p' "$dir/build.log" | tr -d '\n'
  fi
}

. "$parts"
request=$(name_of "$password")
say "credreset on a real API server, with $what"
echo "Two resets or the reason why not, a refusal, and the first request once more. It ends by itself, and nothing is left running."
build

say "1. A real API server, $what, and the operator"
up=$(CONTROLLER_MANAGER=0 "$cluster" up) # on a line of its own: if it fails, kubectl must not go to the caller's cluster
KUBECONFIG=$(value KUBECONFIG "$up") KUBECACHEDIR=$(value KUBECACHEDIR "$up") KUBECTL=$(value KUBECTL "$up")
export KUBECONFIG KUBECACHEDIR
PATH=$(dirname "$KUBECTL"):$PATH
serve
on_loopback
"$bin" crds | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/credentialresets.credreset.dev crd/directories.credreset.dev crd/credentialresetrecords.credreset.dev >/dev/null
for namespace in credreset-system helpdesk; do kubectl create namespace $namespace >/dev/null; done
kubectl apply -f examples/install.yaml >/dev/null
connection | kubectl apply -f - >/dev/null
operator=$("$cluster" sa credreset-system credreset)
KUBECONFIG=$operator "$bin" run --listen 127.0.0.1:0 --log-format json --log info 2>"$dir/operator.log" &
pids+=($!)
until_said $! "$dir/operator.log" '"listen"'
run kubectl wait --for=condition=Ready --timeout=60s "directory/$directory"
expect Connected kubectl get directories

say "2. A password reset: generated, delivered to a Secret, $ended"
before_password
now=$(date -u +%FT%TZ)
manifest "$password" | tee "$dir/password.yaml" | sed -n '/^spec:/,$p'
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$request"
expect Applied kubectl get creset -n helpdesk "$request"
expect "$password" kubectl get secret -n helpdesk "$password"
after_password

if [ -n "$mfa" ]; then
  say "3. An MFA reset"
  before_mfa
  manifest "$mfa" | kubectl apply -f - >/dev/null
  run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$(name_of "$mfa")"
  expect Applied kubectl get creset -n helpdesk "$(name_of "$mfa")"
  after_mfa
else
  say "3. An MFA reset, where the directory keeps no factors: refused"
  expect_refused ann-lost-phone NotSupported <<END
apiVersion: credreset.dev/v1alpha1
kind: CredentialReset
metadata: {name: ann-lost-phone, namespace: helpdesk}
spec: {directory: $directory, user: {username: ann}, mode: MFA, mfa: {confirm: ann}, requestedAt: "$now", reason: HELP-4713}
END
fi

say "4. $refusal: refused"
manifest "$refused" | expect_refused "$(name_of "$refused")" "$reason"

say "5. The same request, deleted and created again: nothing is done twice"
before=$(counted)
run kubectl delete creset -n helpdesk "$request"
kubectl apply -f "$dir/password.yaml" >/dev/null
run kubectl wait --for=condition=Succeeded --timeout=60s -n helpdesk "creset/$request"
expect AlreadyApplied kubectl get creset -n helpdesk "$request"
after=$(counted)
[ "$before" = "$after" ] || failed "$counts before: $before, after: $after"

say "6. What the directory counted, and the ledger"
echo "$counts: $after"
[ "$after" = "$one_of_each" ] || failed "expected $one_of_each"
expect Response kubectl get crecord -n credreset-system
say "All as it should be."

if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then
  cat <<END

Kept up until Ctrl-C. Look around:
  the directory  $(address)
  the cluster    export KUBECONFIG=$KUBECONFIG PATH=$(dirname "$KUBECTL"):\$PATH
                 kubectl get creset -A -o wide; kubectl get crecord -A
                 sed "s/2026-11-24T09:00:00Z/\$(date -u +%FT%TZ)/" $examples/${mfa:-$refused}.yaml | kubectl apply -f -
END
  wait "${pids[-1]}"
fi
