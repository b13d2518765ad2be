#!/usr/bin/env bash
# keycloak.sh COMMAND: a real Keycloak on loopback, without realms of its own; no Docker, no root.
#   up      start, or start again on the data that is there; prints KEY=value lines
#   stop    end the process, keep the data: an outage
#   down    end it and delete everything
# Knobs (environment):
#   INSTANCE          name of this server, so that several run side by side (default: main)
#   SERVERS_RUN       where the instances live (default: a folder under TMPDIR)
#   SERVERS           where downloads are kept (default: a folder under XDG_CACHE_HOME)
#   KEYCLOAK_VERSION  default 26.7.3
#   DIE_WITH          a pid: once that process is gone, the server goes `down` by itself
# Needs: java (17 or later), mvn (for the download, once), unzip, curl, openssl. 400 MB in the cache, 500 MB of memory.
set -euo pipefail

export INSTANCE=${INSTANCE:-main}
export SERVERS_RUN=${SERVERS_RUN:-${TMPDIR:-/tmp}/credreset-servers-$(id -u)}
DIR=$SERVERS_RUN/keycloak-$INSTANCE
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
VERSION=${KEYCLOAK_VERSION:-26.7.3}
SERVERS=${SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/credreset/servers}
DIST=$SERVERS/keycloak-$VERSION
# The administrator of the whole server: a client, since its tokens cost no password hash.
ADMIN_CLIENT=tests ADMIN_SECRET=tests-admin-secret

needed() {
  local missing=()
  for command in "$@"; do command -v "$command" >/dev/null || missing+=("$command"); done
  [ ${#missing[@]} = 0 ] ||
    die "needs ${missing[*]}. On Debian: apt-get install openjdk-17-jre-headless maven unzip curl openssl"
}

install() ( # in a shell of its own, so that the lock ends with it
  [ ! -e "$DIST/.built" ] || exit 0
  mkdir -p "$SERVERS"
  exec 9>"$SERVERS/.keycloak.lock"
  flock -n 9 || { say "waiting for another installation in $SERVERS"; flock 9; }
  [ ! -e "$DIST/.built" ] || exit 0
  zip=$SERVERS/keycloak-quarkus-dist-$VERSION.zip
  if [ ! -e "$zip" ]; then
    needed mvn
    say "downloading Keycloak $VERSION from Maven Central (170 MB, once)"
    new=$(mktemp -d "$SERVERS/.keycloak.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      -Dartifact="org.keycloak:keycloak-quarkus-dist:$VERSION:zip" -DoutputDirectory="$new" >&2
    mv "$new"/*.zip "$zip" # last: half a download is never seen
  fi
  say "unpacking and building Keycloak $VERSION (20 s, once)"
  rm -rf "$DIST"
  unzip -q "$zip" -d "$SERVERS"
  case $VERSION in 26.[0-2].*) features=--features=recovery-codes ;; *) features='' ;; esac # a preview before 26.3
  # shellcheck disable=SC2086
  "$DIST/bin/kc.sh" build --db=dev-file --health-enabled=true $features >"$DIST/build.log" 2>&1 ||
    { tail -n 20 "$DIST/build.log" >&2; die "the build failed (log above)"; }
  touch "$DIST/.built"
)

healthy() { curl -fs --noproxy '*' -m 5 --cacert "$DIR/pki/ca.pem" "https://localhost:$1/health/ready"; }

# On a new instance another program may take a port first: then other ones are tried.
serve() {
  local http https management begin=$SECONDS
  say "starting Keycloak $VERSION"
  for _ in 1 2 3; do
    [ -e "$DIR/ports" ] || echo "$(free_port) $(free_port) $(free_port)" >"$DIR/ports"
    read -r http https management <"$DIR/ports"
    # The data lives in kc.home.dir, the instance's folder; the jars are shared.
    KC_BOOTSTRAP_ADMIN_CLIENT_ID=$ADMIN_CLIENT KC_BOOTSTRAP_ADMIN_CLIENT_SECRET=$ADMIN_SECRET \
      JAVA_OPTS_KC_HEAP="-Xms64m -Xmx512m" start keycloak "$DIST/bin/kc.sh" start --optimized -Dkc.home.dir="$DIR" \
      --http-host=127.0.0.1 --http-enabled=true --http-port="$http" --https-port="$https" \
      --https-certificate-file="$DIR/pki/server.pem" --https-certificate-key-file="$DIR/pki/server.key" \
      --http-management-host=127.0.0.1 --http-management-port="$management" \
      --hostname-strict=false --cache=local
    if until_ok keycloak healthy "$management"; then
      touch "$DIR/ready"
      say "ready after $((SECONDS - begin)) s"
      return
    fi
    end "$DIR/keycloak.pid" KILL
    if [ -e "$DIR/ready" ] || ! tail -n 40 "$DIR/keycloak.log" | grep -qi 'address already in use\|already bound'; then break; fi
    rm "$DIR/ports"
  done
  failed keycloak
}

up() {
  local http https management
  needed java unzip curl openssl
  install
  alone
  die_with # first, so that it sees us fail, too
  [ -e "$DIR/pki/server.pem" ] || { authority && server_certificate /CN=localhost; }
  ln -sfn "$DIST/lib" "$DIR/lib"
  mkdir -p "$DIR/providers" # 26.2 does not start without
  alive "$DIR/keycloak.pid" || serve
  read -r http https management <"$DIR/ports"
  echo "KEYCLOAK_URL=http://127.0.0.1:$http"
  echo "KEYCLOAK_HTTPS_URL=https://localhost:$https"
  echo "KEYCLOAK_CA_FILE=$DIR/pki/ca.pem"
  echo "KEYCLOAK_ADMIN_CLIENT=$ADMIN_CLIENT"
  echo "KEYCLOAK_ADMIN_SECRET=$ADMIN_SECRET"
  echo "KEYCLOAK_LOG=$DIR/keycloak.log"
  echo "KEYCLOAK_BIN=$DIST/bin"
}

down() {
  end_parts keycloak
  rm -rf "$DIR"
  rmdir "$SERVERS_RUN" 2>/dev/null || true
}

case ${1:-} in
  up | down) "$1" ;;
  stop) end "$DIR/keycloak.pid" TERM ;;
  _watch) watch "${@:2}" ;;
  *) sed -n '2,12s/^# \?//p' "$0"; exit 2 ;;
esac
