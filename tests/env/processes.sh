# processes.sh: what the scripts that start servers share. Sourced with $DIR, the folder of the instance, set; servers are its
# parts, each with DIR/PART.pid and DIR/PART.log.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SELF=$HERE/$(basename "$0")

say() { echo "$(basename "$0" .sh): $*" >&2; }
die() { say "$*"; exit 1; }

# A pid file holds "pid starttime": a pid that was reused by another process is not ours. A zombie is gone.
proc_start() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }
alive() {
  local pid start
  [ -f "$1" ] && read -r pid start <"$1" && [ -n "$start" ] && [ "$(proc_start "$pid")" = "$start" ]
}
end() { # end PIDFILE SIGNAL: it and its children, and waits until it is gone; KILL after 20 seconds
  local pid n=400
  while alive "$1"; do
    read -r pid _ <"$1"
    case $((n--)) in 400) kill "-$2" -- "-$pid" ;; 0) kill -KILL -- "-$pid" ;; esac 2>/dev/null || true # gone by itself
    kill -CONT -- "-$pid" 2>/dev/null || true # a stopped process takes no TERM
    sleep 0.05
  done
  rm -f "$1"
}

start() { # start PART command...: in a session of its own, so that a Ctrl-C in the terminal does not reach it
  local part=$1
  shift
  setsid "$@" >>"$DIR/$part.log" 2>&1 </dev/null &
  echo "$! $(proc_start $!)" >"$DIR/$part.pid"
  disown # so that the shell does not report its end
}
until_ok() { # until_ok PART command...: wait until the command succeeds; fails if the process dies
  local part=$1 n=1200
  shift
  until "$@" >/dev/null 2>&1; do
    if ! alive "$DIR/$part.pid" || [ $((n--)) = 0 ]; then return 1; fi
    sleep 0.05
  done
}
failed() { tail -n 15 "$DIR/$1.log" >&2; die "$1 did not start (log above)"; }

die_with() { # once the process with the pid $DIE_WITH is gone, the instance goes `down` by itself
  if [ -n "${DIE_WITH:-}" ] && ! alive "$DIR/watcher.pid"; then
    start watcher "$SELF" _watch "$DIE_WITH" "$(proc_start "$DIE_WITH")"
  fi
}
watch() { # watch PID START: inner, what the watcher does
  while [ "$(proc_start "$1")" = "$2" ]; do sleep 0.5; done
  WATCHING=1 down
}
end_parts() { # end_parts PART...: with the watcher, unless that is who asks
  local part
  for part in watcher "$@"; do
    [ "$part:${WATCHING:-}" = watcher:1 ] || end "$DIR/$part.pid" KILL # the data goes too, so why wait
  done
}

free_port() { # below the kernel's ephemeral range
  local p
  while p=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
  echo "$p"
}

authority() { # a certificate authority of the instance's own, in DIR/pki
  command -v openssl >/dev/null || die "needs openssl"
  (umask 077 && mkdir -p "$DIR/pki")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$INSTANCE test CA" \
    -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$DIR/pki/ca.key" -out "$DIR/pki/ca.pem" 2>/dev/null
}
# certificate NAME SUBJECT [extensions]: signed by it
certificate() {
  (
    cd "$DIR/pki"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out "$1.pem" \
      -extfile <(echo "${3:-extendedKeyUsage=clientAuth}")
    rm "$1.csr"
  ) 2>/dev/null
}
server_certificate() { # server_certificate SUBJECT: DIR/pki/server.pem, for loopback
  certificate server "$1" "$(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth')"
}
