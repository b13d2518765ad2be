# sandbox.sh: the sandbox as the directory of demo.sh.
examples=examples/zoho-sandbox directory=zylker what="the sandbox as directory"
password=annette-password mfa=annette-mfa refused=bruno-unconfirmed ended="sessions cleared"
refusal="A user who has not confirmed the account" reason=UserNotConfirmed
counts=calls one_of_each="reset-password=1 reset-mfa=1"

serve() {
  "$bin" sandbox --listen 127.0.0.1:0 >"$dir/sandbox.out" 2>&1 &
  pids+=($!)
  until_said $! "$dir/sandbox.out" '^listening on '
  sandbox=$(sed -n 's/^listening on //p' "$dir/sandbox.out")
}
connection() { sed "s#http://127.0.0.1:8090#$sandbox#" "$examples/directory.yaml"; }

counted() { curl -sf "$sandbox/sandbox/counts" | python3 -c 'import json,sys; d=json.load(sys.stdin); print(*(f"{k}={d.get(k,0)}" for k in ("reset-password","reset-mfa")))'; }
user() { curl -sf "$sandbox/sandbox/users/700012399" | python3 -c 'import json,sys; u=json.load(sys.stdin); print(*(f"{k}={u[k]}" for k in ("passwordResets","mustChange","webSessions","mobileSessions","apiTokens","factors")))'; }

before_password() { :; }
after_password() {
  echo "at the directory: $(user)"
  grep -q 'passwordResets=1 mustChange=True webSessions=0 mobileSessions=0 apiTokens=0' <<<"$(user)" || failed "the directory shows something else"
}
before_mfa() { :; }
after_mfa() { grep -q 'factors=\[\]' <<<"$(user)" || failed "the directory still shows factors"; }

address() { echo "$sandbox/"; }
