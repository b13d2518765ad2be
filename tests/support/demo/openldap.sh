# openldap.sh: a real slapd with overlay ppolicy as the directory of demo.sh. What is shown of it is what its users see, and
# the passwords that it remembers having replaced.
examples=examples/openldap directory=acme-openldap what="a real OpenLDAP as directory"
password=ann-password mfa="" refused=bob-administrator ended="lock-out ended"
refusal="An administrator, through a group in a group" reason=UserProtected
counts="passwords replaced" one_of_each="ann=1 bob=0"
people=ou=people,dc=acme,dc=example

serve() { start_ldap_server; }
connection() { ldap_directory '"ldaps://ldap1.acme.example".*"ldaps://ldap2.acme.example"'; }

# tool WHO PASSWORD COMMAND: one of OpenLDAP's tools, bound as WHO
tool() { PASSWORD=$2 tests/support/servers/openldap.sh sh "$3 -x -D $1 -y <(printf %s \"\$PASSWORD\") ${*:4}" 2>&1; }
sign_in() { (tool "uid=$1,$people" "$2" "ldapwhoami -e ppolicy" || true) | sed -n 1p; }
# attribute WHO NAME: its values, a line each
attribute() { tool "$admin" "$admin_password" "ldapsearch -LLL -o ldif-wrap=no" -b "uid=$1,$people" -s base "'(uid=*)'" "$2" | sed -n "s/^$2: //p"; }

is_locked_out() { [ -n "$(attribute ann pwdAccountLockedTime)" ]; }
counted() { echo "ann=$(attribute ann pwdHistory | wc -l) bob=$(attribute bob pwdHistory | wc -l)"; }

ann_old=ann-old-1 welcome=dn:uid=ann,$people wrong="ldap_bind: Invalid credentials (49)" locked_out=$wrong
must_change="ldap_bind: Success (0); Password must be changed"
before_password() { locked_out_by_guesses; }
after_password() { let_in_to_change; }
address() { echo "INSTANCE=$INSTANCE tests/support/servers/openldap.sh sh 'ldapwhoami -x -D uid=ann,$people -W'"; }
