#!/usr/bin/env bash
# samba.sh COMMAND: a real Samba domain controller of Active Directory on a loopback address of its own; no Docker. Only its
# LDAP service runs.
#   up      start, or start again on the data that is there; prints KEY=value lines
#   stop    end the process, keep the data: an outage
#   kill    the same as in a crash
#   down    end it and delete everything
#   sh TEXT run a shell's commands with Samba's tools, as on the domain controller itself
# Knobs (environment):
#   INSTANCE      name of this server, so that several run side by side (default: main)
#   SERVERS_RUN   where the instances live (default: a folder under TMPDIR)
#   SERVERS       where downloads are kept (default: a folder under XDG_CACHE_HOME)
#   DIE_WITH      a pid: once that process is gone, the server goes `down` by itself
# Needs: root (its ports are 389 and 636, and the packages are laid over /usr in a mount namespace), Debian 12 or later (for
# the packages, once), openssl, iconv. 80 MB in the cache, 52 MB of memory.
set -euo pipefail

export INSTANCE=${INSTANCE:-main}
export SERVERS_RUN=${SERVERS_RUN:-${TMPDIR:-/tmp}/credreset-servers-$(id -u)}
DIR=$SERVERS_RUN/samba-$INSTANCE
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
. "$HERE/debian.sh"
BASE=DC=acme,DC=example
ADMIN_PASSWORD=Admin-pw-2026
RESET_PASSWORD=Reset-pw-2026
ADDRESSES=$SERVERS/samba-addresses
export LDB_MODULES_PATH=/usr/lib/$(uname -m)-linux-gnu/samba/ldb

# over FOLDER command...: with the packages laid over /usr; only this command and its children see them
over() {
  exec unshare -m sh -ec 'mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr; exec "$@"' "$@"
}
# run LOG command...: its output is shown if it fails
run() {
  local log=$DIR/$1.log
  shift
  (over "$FOLDER" "$@") >>"$log" 2>&1 || { tail -n 15 "$log" >&2; die "it failed (log above): $*"; }
}

utf16() { printf '"%s"' "$1" | iconv -t UTF-16LE | base64 -w0; }
user() { # user NAME PASSWORD [CONTAINER] [FLAGS]
  cat <<END
dn: CN=$1,${3:-OU=People},$BASE
objectClass: user
sAMAccountName: $1
userPrincipalName: $1@acme.example
mail: $1@acme.example
userAccountControl: ${4:-512}
unicodePwd:: $(utf16 "$2")

END
}
other() { # other RDN NAME PASSWORD [LINE...]: without a userPrincipalName
  local rdn=$1 name=$2 password=$3
  shift 3
  printf 'dn: %s,OU=People,%s\nobjectClass: user\nsAMAccountName: %s\nunicodePwd:: %s\n' "$rdn" "$BASE" "$name" "$(utf16 "$password")"
  printf '%s\n' "$@" ''
}
group() { # group NAME MEMBER
  printf 'dn: CN=%s,OU=Groups,%s\nobjectClass: group\nsAMAccountName: %s\nmember: %s,%s\n\n' "$1" "$BASE" "${1//[\\,]/}" "$2" "$BASE"
}

# The rights that docs/active-directory.md asks for, on users below one organizational unit: the right "Reset Password", and
# to read and write pwdLastSet and lockoutTime.
delegate() { # delegate SID
  local user=bf967aba-0de6-11d0-a285-00aa003049e2 rights
  rights="(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;$user;$1)"
  rights+="(OA;CIIO;RPWP;bf967a0a-0de6-11d0-a285-00aa003049e2;$user;$1)"
  rights+="(OA;CIIO;RPWP;28630ebf-41d5-11d1-a9c1-0000f80367c1;$user;$1)"
  run setup samba-tool dsacl set -H "$SAM" --objectdn="OU=People,$BASE" --sddl="$rights"
}

seed() {
  SAM=$DIR/private/sam.ldb
  {
    printf 'dn: OU=%s,%s\nobjectClass: organizationalUnit\n\n' People "$BASE" Services "$BASE" Groups "$BASE"
    user credreset "$RESET_PASSWORD" OU=Services 66048
    user norights "$RESET_PASSWORD" OU=Services 66048
    user ann Ann-old-pw-1
    user bob Bob-old-pw-1
    user cat Cat-old-pw-1 OU=People 514
    user boss Boss-old-pw-1
    user chief Chief-old-pw-1
    # bob is one of the desk in a roundabout way.
    group operators CN=bob,OU=People
    group desk CN=operators,OU=Groups
    group chiefs CN=chief,OU=People
    # Names as they are in the world, and whom something else than the password keeps out.
    other 'CN=Doe\, John' doe doe-Old-1 'userAccountControl: 512'
    other 'CN=Jörg \22Größe\22 \+ \#1/2' joerg joerg-Old-1 'userAccountControl: 512' 'mail: joerg@acme.example' \
      'proxyAddresses: SMTP:joerg@acme.example' 'proxyAddresses: smtp:j.groesse@acme.example'
    other CN=night night night-Old-1 'userAccountControl: 512' "logonHours:: $(head -c 21 /dev/zero | base64)"
    other CN=bound bound bound-Old-1 'userAccountControl: 512' 'userWorkstations: PC1'
    other CN=smart smart smart-Old-1 'userAccountControl: 262656'
    group 'Admins\, Berlin' 'CN=Doe\, John,OU=People'
  } >"$DIR/seed.ldif"
  run setup ldbadd -H "$SAM" "$DIR/seed.ldif"
  # boss administers the domain; chief does, too, since the group of chiefs does.
  printf 'dn: CN=Domain Admins,CN=Users,%s\nchangetype: modify\nadd: member\nmember: CN=boss,OU=People,%s\nmember: CN=chiefs,OU=Groups,%s\n' \
    "$BASE" "$BASE" "$BASE" >"$DIR/boss.ldif"
  run setup ldbmodify -H "$SAM" "$DIR/boss.ldif"
  delegate "$( (over "$FOLDER" ldbsearch -H "$SAM" '(sAMAccountName=credreset)' objectSid) | sed -n 's/^objectSid: //p')"
}

# A loopback address of the instance's own, for as long as its folder exists. Taken under a lock that all instances share,
# wherever they live.
address() ( # in a shell of its own, so that the lock ends with it
  mkdir -p "$ADDRESSES"
  exec 8>"$ADDRESSES/.lock"
  flock 8
  for n in $(seq 1 254); do
    address=127.0.77.$n
    # The link of a folder that is gone leads nowhere.
    if [ ! -e "$ADDRESSES/$address" ] && ! listens "$address" 636; then
      ln -sfn "$DIR" "$ADDRESSES/$address"
      echo "$address" >"$DIR/address"
      exit
    fi
  done
  die "no loopback address is free"
)

provision() {
  local address=$1
  authority
  certificate server /CN=dc1.acme.example \
    "$(printf 'subjectAltName=DNS:dc1.acme.example,DNS:localhost,IP:127.0.0.1,IP:%s\nextendedKeyUsage=serverAuth' "$address")"
  chmod 600 "$DIR/pki/server.key"
  mkdir -p "$DIR/run"
  run setup samba-tool domain provision --realm=ACME.EXAMPLE --domain=ACME --host-name=dc1 --adminpass="$ADMIN_PASSWORD" \
    --server-role=dc --dns-backend=NONE --targetdir="$DIR" --option="interfaces=$address/8" \
    --option="bind interfaces only=yes" --option="server services=ldap" --option="pid directory=$DIR/run" \
    --option="tls keyfile=$DIR/pki/server.key" --option="tls certfile=$DIR/pki/server.pem" --option="tls cafile=$DIR/pki/ca.pem" \
    --option="tls verify peer=ca_only" # Samba's tools take no address for a name
  export SMB_CONF_PATH=$DIR/etc/smb.conf
  seed
}

# It is this instance that answers.
answers() {
  openssl s_client -connect "$(cat "$DIR/address"):636" -CAfile "$DIR/pki/ca.pem" -verify_return_error </dev/null
}

serve() {
  if [ ! -e "$DIR/ready" ]; then
    address
    provision "$(cat "$DIR/address")"
  fi
  say "starting samba"
  start samba "$SELF" _serve "$FOLDER"
  until_ok samba answers || failed samba
  touch "$DIR/ready"
}

folder() { debs samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind ldb-tools; }

up() {
  [ "$(id -u)" = 0 ] || die "needs root: ports 389 and 636, and a mount namespace"
  FOLDER=$(folder)
  mkdir -p "$DIR"
  die_with # first, so that it sees us fail, too
  alive "$DIR/samba.pid" || serve
  local address
  address=$(cat "$DIR/address")
  echo "LDAP_URL=ldap://$address"
  echo "LDAPS_URL=ldaps://$address"
  echo "CA_FILE=$DIR/pki/ca.pem"
  echo "BASE_DN=$BASE"
  echo "ADMIN_DN=CN=Administrator,CN=Users,$BASE"
  echo "ADMIN_PASSWORD=$ADMIN_PASSWORD"
  echo "BIND_DN=CN=credreset,OU=Services,$BASE"
  echo "BIND_PASSWORD=$RESET_PASSWORD"
  echo "LOG=$DIR/samba.log"
}

down() {
  end_parts samba
  [ ! -e "$DIR/address" ] || rm -f "$ADDRESSES/$(cat "$DIR/address")"
  rm -rf "$DIR"
  rmdir "$SERVERS_RUN" 2>/dev/null || true
}

case ${1:-} in
  up | down) "$1" ;;
  stop) end "$DIR/samba.pid" TERM ;;
  kill) end "$DIR/samba.pid" KILL ;;
  sh)
    export SMB_CONF_PATH=$DIR/etc/smb.conf
    over "$(folder)" bash -euo pipefail -c "$2"
    ;;
  _watch) watch "${@:2}" ;;
  _serve) over "$2" samba -F -M single -d 1 -s "$DIR/etc/smb.conf" --debug-stdout ;;
  *) sed -n '2,16s/^# \?//p' "$0"; exit 2 ;;
esac
