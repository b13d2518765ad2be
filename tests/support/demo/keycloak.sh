# keycloak.sh: a real Keycloak as the directory of demo.sh. What is shown of it is what its users see, and what it has
# written down itself.
examples=examples/keycloak directory=acme what="a real Keycloak as directory"
password=ann-password mfa=bob-mfa refused=dan-unverified ended="sessions cleared"
refusal="A user who has not verified the e-mail address" reason=UserNotConfirmed
counts=calls one_of_each="reset-password=1 remove-factor=1"

serve() {
  start_server
  keycloak=$(value KEYCLOAK_URL "$up")
  admin_client=$(value KEYCLOAK_ADMIN_CLIENT "$up") admin_secret=$(value KEYCLOAK_ADMIN_SECRET "$up")
  curl -sf "$keycloak/admin/realms" -H "$(admin)" -H 'Content-Type: application/json' --data-binary @tests/support/servers/keycloak-realm.json
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
counted() {
  ask 'admin-events?max=1000' | field '"reset-password=%d remove-factor=%d" % (
    sum(e["resourcePath"].endswith("/reset-password") for e in d),
    sum("/credentials/" in e["resourcePath"] for e in d))'
}
# token FIELD=VALUE...: what a client of the realm is answered; tokens are kept in the demo's folder
token() {
  local form=() field
  for field in client_id=shop "$@"; do form+=(--data-urlencode "$field"); done
  curl -s "$keycloak/realms/acme/protocol/openid-connect/token" "${form[@]}" >"$dir/answer"
  ! grep -q refresh_token "$dir/answer" || cp "$dir/answer" "$dir/session"
  field '"welcome" if "access_token" in d else d["error_description"]' <"$dir/answer"
}
sign_in() { token grant_type=password scope=openid username="$1" password="$2"; }
refresh() { token grant_type=refresh_token refresh_token="$(field 'd["refresh_token"]' <"$dir/session")"; }
is_locked_out() { [ "$(ask "attack-detection/brute-force/users/$(id_of ann)" | field 'd["disabled"]')" = True ]; }
factors() { ask "users/$(id_of bob)/credentials" | field '" ".join(sorted(c["type"] for c in d))'; }
actions() { ask "users/$(id_of bob)" | field '" ".join(d["requiredActions"])'; }

ann_old=ann-old-1 welcome=welcome wrong="Invalid user credentials" locked_out=$wrong must_change="Account is not fully set up"
before_password() { locked_out_by_guesses; }
after_password() {
  let_in_to_change
  seen "where she was signed in" "Session not active" refresh
}
before_mfa() {
  seen "Bob's credentials" "otp password" factors
  seen "his password, without the code from his phone" "$wrong" sign_in bob bob-old-1
}
after_mfa() {
  seen "Bob's credentials" password factors
  seen "what he must do when he signs in" CONFIGURE_TOTP actions
  seen "his password, without a code" "$must_change" sign_in bob bob-old-1
}
address() { echo "$keycloak/realms/acme/account/, as ann with the password in Secret ann-password, or as bob with bob-old-1"; }
