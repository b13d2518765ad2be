#!/usr/bin/env bash
# openldap.sh COMMAND: a real slapd on loopback, with TLS and overlay ppolicy; no Docker, no root.
#   up      start, or start again on the data that is there; prints KEY=value lines
#   stop    end the process, keep the data: an outage
#   kill    the same as in a crash
#   down    end it and delete everything
#   sh TEXT run a shell's commands with OpenLDAP's tools, which find this server
# Knobs (environment):
#   INSTANCE      name of this server, so that several run side by side (default: main)
#   SERVERS_RUN   where the instances live (default: a folder under TMPDIR)
#   SERVERS       where downloads are kept (default: a folder under XDG_CACHE_HOME)
#   POLICY        0 leaves overlay ppolicy out, on a new instance
#   PROVIDER      another instance: the new one is a read-only copy of it, with the same certificate
#   REFERRAL      0: a copy that does not say where changes go
#   CLEAR         1: it takes passwords in clear, too, as of a program that does not know its certificate
#   DIE_WITH      a pid: once that process is gone, the server goes `down` by itself
# Needs: Debian or Ubuntu (for the packages, once), openssl. 6 MB in the cache, 25 MB of memory.
set -euo pipefail

export INSTANCE=${INSTANCE:-main}
export SERVERS_RUN=${SERVERS_RUN:-${TMPDIR:-/tmp}/credreset-servers-$(id -u)}
DIR=$SERVERS_RUN/openldap-$INSTANCE
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
. "$HERE/debian.sh"
BASE=dc=acme,dc=example
ADMIN_PASSWORD=admin-secret
RESET_PASSWORD=reset-secret

schema() { # as much as Samba's own schema has of passwords
  cat <<'END'
attributetype ( 1.3.6.1.4.1.7165.2.1.25 NAME 'sambaNTPassword' EQUALITY caseIgnoreIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26{32} SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.7165.2.1.20 NAME 'sambaSID' EQUALITY caseIgnoreIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26{64} SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.7165.2.2.6 NAME 'sambaSamAccount' SUP top AUXILIARY MUST ( uid $ sambaSID ) MAY sambaNTPassword )
END
}

config() { # config FOLDER
  cat <<END
include $1/etc/ldap/schema/core.schema
include $1/etc/ldap/schema/cosine.schema
include $1/etc/ldap/schema/nis.schema
include $1/etc/ldap/schema/inetorgperson.schema
include $DIR/samba.schema
modulepath $1/usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload syncprov
pidfile $DIR/own.pid
TLSCACertificateFile $DIR/pki/ca.pem
TLSCertificateFile $DIR/pki/server.pem
TLSCertificateKeyFile $DIR/pki/server.key
END
  # In clear nothing but StartTLS is answered: slapd itself would take a password in clear.
  [ "${CLEAR:-0}" = 1 ] || echo 'security ssf=128'
  cat <<END

database mdb
suffix "$BASE"
rootdn "cn=admin,$BASE"
rootpw $ADMIN_PASSWORD
directory $DIR/db
maxsize 268435456
dbnosync
index objectClass,uid,mail,entryUUID,member,uniqueMember,memberUid eq
overlay syncprov
END
  [ "${POLICY:-1}" = 0 ] || cat <<END
overlay ppolicy
ppolicy_default "cn=default,ou=policies,$BASE"
ppolicy_hash_cleartext
END
  [ -z "${PROVIDER:-}" ] || replica
  # The rights that docs/openldap.md asks for: to set the password and the must-change mark under ou=people, and to read what
  # users are looked up by. No account reads passwords or their history.
  cat <<END
access to dn.subtree="ou=people,$BASE" attrs=userPassword
  by dn.exact="cn=credreset,ou=services,$BASE" =w by anonymous auth by self =w by * none
access to dn.subtree="ou=people,$BASE" attrs=pwdReset
  by dn.exact="cn=credreset,ou=services,$BASE" write by * none
access to attrs=userPassword by anonymous auth by self =w by * none
access to attrs=pwdHistory by * none
access to *
  by dn.exact="cn=credreset,ou=services,$BASE" read by dn.exact="cn=norights,ou=services,$BASE" read
  by dn.exact="cn=reset\\\\2C bot,ou=people,$BASE" read by self read by * none
END
}

replica() { # changes come from $PROVIDER alone
  local url
  url=ldaps://127.0.0.1:$(cut -d ' ' -f 2 "$(other)/ports")
  cat <<END
syncrepl rid=001 provider=$url tls_cacert=$DIR/pki/ca.pem bindmethod=simple binddn="cn=admin,$BASE" credentials=$ADMIN_PASSWORD
  searchbase="$BASE" type=refreshAndPersist retry="1 +"
END
  [ "${REFERRAL:-1}" = 0 ] || echo "updateref $url"
}
other() { echo "$SERVERS_RUN/openldap-$PROVIDER"; }

person() { # person UID PASSWORD [OU]
  printf 'dn: uid=%s,ou=%s,%s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: %s\nmail: %s@acme.example\nuserPassword: %s\n\n' \
    "$1" "${3:-people}" "$BASE" "$1" "$1" "$1" "$1" "$2"
}
service() { # service CN
  printf 'dn: cn=%s,ou=services,%s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: %s\nuserPassword: %s\n\n' \
    "$1" "$BASE" "$1" "$RESET_PASSWORD"
}
named() { # named RDN UID ATTRIBUTE...: a user who has another name than a user name, or more than an inetOrgPerson
  local rdn=$1 uid=$2
  shift 2
  printf 'dn: %s,ou=people,%s\nobjectClass: inetOrgPerson\nuid: %s\nsn: %s\nmail: %s@acme.example\nuserPassword: %s-old-1\n' \
    "$rdn" "$BASE" "$uid" "$uid" "$uid" "$uid"
  printf '%s\n' "$@" ''
}
group() { # group CN MEMBER
  printf 'dn: cn=%s,ou=groups,%s\nobjectClass: groupOfNames\ncn: %s\nmember: %s\n\n' "$1" "$BASE" "${1//\\/}" "$2"
}

tree() { # loaded with slapadd: dan is an imported user
  printf 'dn: %s\nobjectClass: dcObject\nobjectClass: organization\ndc: acme\no: Acme\n\n' "$BASE"
  local unit
  for unit in people protected services policies groups; do
    printf 'dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n' "$unit" "$BASE" "$unit"
  done
  [ "${POLICY:-1}" = 0 ] || cat <<END
dn: cn=default,ou=policies,$BASE
objectClass: device
objectClass: pwdPolicy
cn: default
pwdAttribute: userPassword
pwdMustChange: TRUE
pwdMinLength: 8
pwdCheckQuality: 1
pwdInHistory: 3
pwdLockout: TRUE
pwdMaxFailure: 5
pwdAllowUserChange: TRUE

END
  person dan dan-old-1
}
people() {
  service credreset
  service norights
  person ann ann-old-1
  person bob bob-old-1
  person boss boss-old-1 protected
  # bob is an administrator in a roundabout way.
  group staff "uid=ann,ou=people,$BASE"
  group operators "uid=bob,ou=people,$BASE"
  group administrators "cn=operators,ou=groups,$BASE"
  # Names as they are in the world.
  named 'cn=Doe\, John' doe 'cn: Doe, John'
  named 'cn=Ann \22Ace\22 \2B Co\; \3C1\3E' ace 'cn: Ann "Ace" + Co; <1>'
  named 'cn=\#1 Jörg Größe' joerg 'cn: #1 Jörg Größe'
  named 'cn=Mia+uid=multi' multi 'cn: Mia'
  named 'cn=reset\, bot' resetbot 'cn: reset, bot'
  group 'Admins\, Berlin' "cn=Doe\\2C John,ou=people,$BASE"
  # Who keeps more than one password, or the one elsewhere, or begins later.
  named uid=sam sam 'cn: sam' 'objectClass: sambaSamAccount' 'sambaSID: S-1-5-21-1-2-3-1001' \
    'sambaNTPassword: 0CB6948805F797BF2A82807973B89537'
  named uid=shadow shadow 'cn: shadow' 'objectClass: shadowAccount' 'shadowLastChange: 10000' 'shadowMax: 90'
  named uid=central central 'cn: central' 'employeeType: central'
}

six() { grep -q '^0\{31\}1 ' /proc/net/if_inet6; } 2>/dev/null # there is a loopback of IPv6

serve() { # serve FOLDER
  local plain tls urls
  say "starting slapd"
  for _ in 1 2 3; do
    [ -e "$DIR/ports" ] || echo "$(free_port) $(free_port)" >"$DIR/ports"
    read -r plain tls <"$DIR/ports"
    urls="ldap://127.0.0.1:$plain ldaps://127.0.0.1:$tls"
    ! six || urls+=" ldap://[::1]:$plain ldaps://[::1]:$tls"
    start slapd "$1/usr/sbin/slapd" -d stats -f "$DIR/slapd.conf" -h "$urls"
    if until_ok slapd listens 127.0.0.1 "$tls"; then return; fi
    # On a new instance another program may take a port first.
    if [ -e "$DIR/ready" ] || ! tail -n 20 "$DIR/slapd.log" | grep -qi 'address already in use'; then break; fi
    rm "$DIR/ports"
  done
  failed slapd
}

# run LOG command...: its output is shown if it fails
run() {
  local log=$DIR/$1.log
  shift
  "$@" >"$log" 2>&1 || { tail -n 15 "$log" >&2; die "it failed (log above): $*"; }
}

folder() { debs openldap slapd ldap-utils; }
libraries() { export LD_LIBRARY_PATH=$1/usr/lib/$(uname -m)-linux-gnu; } # libraries FOLDER

up() {
  local folder plain tls
  folder=$(folder)
  libraries "$folder"
  mkdir -p "$DIR/db"
  die_with # first, so that it sees us fail, too
  if ! alive "$DIR/slapd.pid"; then
    if [ ! -e "$DIR/ready" ]; then
      if [ -n "${PROVIDER:-}" ]; then
        cp -r "$(other)/pki" "$DIR"
      else
        authority && server_certificate /CN=localhost
      fi
      schema >"$DIR/samba.schema"
      config "$folder" >"$DIR/slapd.conf"
      [ -n "${PROVIDER:-}" ] || tree | run slapadd "$folder/usr/sbin/slapd" -T add -f "$DIR/slapd.conf"
    fi
    serve "$folder"
  fi
  read -r plain tls <"$DIR/ports"
  if [ ! -e "$DIR/ready" ]; then
    [ -n "${PROVIDER:-}" ] || people | LDAPTLS_CACERT=$DIR/pki/ca.pem run ldapadd "$folder/usr/bin/ldapadd" -x -H "ldaps://127.0.0.1:$tls" \
      -D "cn=admin,$BASE" -w "$ADMIN_PASSWORD"
    touch "$DIR/ready"
  fi
  echo "LDAP_URL=ldap://127.0.0.1:$plain"
  echo "LDAPS_URL=ldaps://127.0.0.1:$tls"
  ! six || printf '%s\n' "LDAP_URL_6=ldap://[::1]:$plain" "LDAPS_URL_6=ldaps://[::1]:$tls"
  echo "CA_FILE=$DIR/pki/ca.pem"
  echo "BASE_DN=$BASE"
  echo "ADMIN_DN=cn=admin,$BASE"
  echo "ADMIN_PASSWORD=$ADMIN_PASSWORD"
  echo "BIND_DN=cn=credreset,ou=services,$BASE"
  echo "BIND_PASSWORD=$RESET_PASSWORD"
  echo "LOG=$DIR/slapd.log"
}

down() {
  end_parts slapd
  rm -rf "$DIR"
  rmdir "$SERVERS_RUN" 2>/dev/null || true
}

case ${1:-} in
  up | down) "$1" ;;
  sh)
    folder=$(folder)
    read -r _ tls <"$DIR/ports"
    export PATH=$folder/usr/bin:$PATH LDAPURI=ldaps://127.0.0.1:$tls LDAPTLS_CACERT=$DIR/pki/ca.pem
    libraries "$folder"
    exec bash -euo pipefail -c "$2"
    ;;
  stop) end "$DIR/slapd.pid" TERM ;;
  kill) end "$DIR/slapd.pid" KILL ;;
  _watch) watch "${@:2}" ;;
  *) sed -n '2,17s/^# \?//p' "$0"; exit 2 ;;
esac
