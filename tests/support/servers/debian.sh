# debian.sh: servers from Debian packages that are unpacked, not installed. Sourced after processes.sh; $SERVERS says where
# they are kept.
SERVERS=${SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/credreset/servers}

download() { # download package...: with those of their dependencies that this machine lacks, into this folder
  apt-get install --print-uris -qq --no-install-recommends "$@" | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" |
    xargs -r apt-get download -qq -o APT::Sandbox::User="$(id -un)" >&2 && ls ./*.deb >/dev/null 2>&1
}

# debs NAME package...: downloads packages, with those of their dependencies that this machine lacks, and prints the folder
# where they are unpacked.
debs() ( # in a shell of its own, so that the lock ends with it
  name=$1 dir=$SERVERS/$1
  shift
  if [ ! -e "$dir/.done" ]; then
    command -v apt-get dpkg-deb >/dev/null || die "needs Debian or Ubuntu: it takes $* from there"
    mkdir -p "$SERVERS"
    exec 9>"$dir.lock"
    flock -n 9 || { say "waiting for another download into $dir"; flock 9; }
  fi
  if [ ! -e "$dir/.done" ]; then
    say "downloading $name (once)"
    new=$(mktemp -d "$SERVERS/.debs.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    cd "$new"
    # Lists that are missing or old name packages that are not there.
    download "$@" || { say "reading Debian's package lists" && apt-get update -qq >&2 && download "$@"; } || die "apt-get gives no $name"
    rm -rf "$dir"
    mkdir "$dir"
    for file in *.deb; do dpkg-deb -x "$file" "$dir"; done
    touch "$dir/.done" # last: half a folder is never taken for a whole one
  fi
  echo "$dir"
)

listens() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
