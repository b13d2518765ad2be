# demo-keycloak.sh: a real Keycloak as the directory of demo.sh. What is shown of it is what its users see, and what it has
# written down itself.
examples=examples/keycloak directory=acme what="a real Keycloak as directory"
password=ann-password mfa=bob-mfa refused=dan-unverified
refusal="A user who has not verified the e-mail address"
one_of_each="reset-password=1 remove-factor=1"

serve() {
  local up
  up=$(tests/env/keycloak.sh up)
  servers+=(tests/env/keycloak.sh)
  keycloak=$(value KEYCLOAK_URL "$up")
  admin_client=$(value KEYCLOAK_ADMIN_CLIENT "$up") admin_secret=$(value KEYCLOAK_ADMIN_SECRET "$up")
  curl -sf "$keycloak/admin/realms" -H "$(admin)" -H 'Content-Type: application/json' --data-binary @tests/env/keycloak-realm.json
}
connection() { sed "s#http://127.0.0.1:8080#$keycloak#" "$examples/directory.yaml"; }

# field EXPRESSION: of the JSON on stdin, which is d
field() { python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }
admin() {
  curl -sf "$keycloak/realms/master/protocol/openid-connect/token" -d grant_type=client_credentials -d client_id="$admin_client" \
    -d client_secret="$admin_secret" | field '"Authorization: Bearer " + d["access_token"]'
}
ask() { curl -sf "$keycloak/admin/realms/acme/$1" -H "$(admin)"; }
id_of() { ask "users?username=$1&exact=true" | field 'd[0]["id"]'; }

# Keycloak's own admin events
calls() {
  ask 'admin-events?max=1000' | field '"reset-password=%d remove-factor=%d" % (
    sum(e["resourcePath"].endswith("/reset-password") for e in d),
    sum("/credentials/" in e["resourcePath"] for e in d))'
}
# token FIELD=VALUE...: what a client of the realm is answered; the reply is kept in the demo's folder
token() {
  local form=() field
  for field in client_id=shop "$@"; do form+=(--data-urlencode "$field"); done
  curl -s "$keycloak/realms/acme/protocol/openid-connect/token" "${form[@]}" | tee "$dir/token" |
    field '"welcome" if "access_token" in d else d["error_description"]'
}
sign_in() { token grant_type=password scope=openid username="$1" password="$2"; }
refresh() { token grant_type=refresh_token refresh_token="$refresh_token"; }
new_password() { kubectl get secret -n helpdesk "$password" -o 'jsonpath={.data.password}' | base64 -d; }
locked_out_now() { ask "attack-detection/brute-force/users/$(id_of ann)" | field 'd["disabled"]'; }
factors() { ask "users/$(id_of bob)/credentials" | field '" ".join(sorted(c["type"] for c in d))'; }
actions() { ask "users/$(id_of bob)" | field '" ".join(d["requiredActions"])'; }
# seen WHAT WANTED command...: shows what the command prints, which must be WANTED
seen() {
  local out
  out=$("${@:3}")
  printf '  %-62s %s\n' "$1" "$out"
  [ "$out" = "$2" ] || failed "expected to see: $2"
}

before_password() {
  seen "Ann signs in" welcome sign_in ann ann-old-1
  refresh_token=$(field 'd["refresh_token"]' <"$dir/token")
  until [ "$(locked_out_now)" = True ]; do sign_in ann guess >/dev/null; done
  seen "somebody guesses, so that she is locked out: her own password" "Invalid user credentials" sign_in ann ann-old-1
}
after_password() {
  seen "her old password" "Invalid user credentials" sign_in ann ann-old-1
  seen "the new one, which she must change first" "Account is not fully set up" sign_in ann "$(new_password)"
  seen "where she was signed in" "Session not active" refresh
}
before_mfa() {
  seen "Bob's credentials" "otp password" factors
  seen "his password, without the code from his phone" "Invalid user credentials" sign_in bob bob-old-1
}
after_mfa() {
  seen "Bob's credentials" password factors
  seen "what he must do when he signs in" CONFIGURE_TOTP actions
  seen "his password, without a code" "Account is not fully set up" sign_in bob bob-old-1
}
address() { echo "$keycloak/realms/acme/account/, as ann with the password in Secret ann-password, or as bob with bob-old-1"; }
