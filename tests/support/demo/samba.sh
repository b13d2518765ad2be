# samba.sh: a real domain controller of Active Directory as the directory of demo.sh. What is shown of it is what its users
# see, and how many keys they have had, which is one more with each change of the password.
examples=examples/active-directory directory=acme what="a real Samba domain controller as directory"
password=ann-password mfa="" refused=cat-disabled ended="lock-out ended"
refusal="A user whose account is disabled" reason=UserInactive
counts="versions of the key, the first being 1" one_of_each="ann=2 cat=1"
people=OU=People,DC=acme,DC=example

serve() {
  start_ldap_server
  tests/support/servers/samba.sh sh 'samba-tool domain passwordsettings set --account-lockout-threshold=3' >/dev/null
}
connection() { ldap_directory ldaps://dc1.acme.example; }

# search WHO PASSWORD USER [ATTRIBUTE]: what WHO sees of the user with Samba's own tool, or is answered
search() {
  WHO=$1 PASSWORD=$2 tests/support/servers/samba.sh sh \
    "ldbsearch -H $url --simple-bind-dn=\"\$WHO\" --password=\"\$PASSWORD\" -b CN=$3,$people -s base ${4:-dn}" 2>&1
}
attribute() { search "$admin" "$admin_password" "$1" "$2" | sed -n "s/^$2: //p"; }
# sign_in USER PASSWORD: the entry, or the number of Windows that comes with error 49
sign_in() {
  local answer
  answer=$(search "$1@acme.example" "$2" "$1") || true
  sed -n 's/^dn: //p; s/^Failed to bind.* \(data [0-9a-f]*\),.*/\1/p' <<<"$answer" |
    sed 's/52e$/& (wrong password)/; s/773$/& (must change it)/; s/775$/& (locked out)/'
}

is_locked_out() { [ "$(attribute ann lockoutTime)" -gt 0 ] 2>/dev/null; }
counted() { echo "ann=$(attribute ann msDS-KeyVersionNumber) cat=$(attribute cat msDS-KeyVersionNumber)"; }

ann_old=Ann-old-pw-1 welcome=CN=ann,$people wrong="data 52e (wrong password)" locked_out="data 775 (locked out)"
must_change="data 773 (must change it)"
before_password() { locked_out_by_guesses; }
after_password() { let_in_to_change; }
address() { echo "$url, as ann@acme.example with the password in Secret $password; its authority is $ca"; }
