#!/usr/bin/env bash
# build.sh [etcd|kube-apiserver|kube-controller-manager|kubectl|helm|umoci|kustomize-controller|age ...]: provides the servers and tools of
# tests, demo and image (default: all eight), building from Go modules into a cache what is not there yet, and prints NAME=path lines
# (KUBE_APISERVER=...). Progress goes to stderr. With --missing as first word it only prints the names of what it would build.
# Knobs (environment):
#   KUBERNETES_VERSION  default v1.37.2       ETCD_VERSION  default: the one that Kubernetes version is made with
#   HELM_VERSION        default v4.3.1        UMOCI_VERSION default v0.6.0
#   HELM_DOCS_VERSION   default v1.14.2; helm-docs is built only if it is named
#   KUSTOMIZE_CONTROLLER_VERSION  of Flux, default v1.9.6; with the kinds that it knows beside it, kustomize-controller.yaml
#   AGE_VERSION         default v1.3.2
#   ASSETS              the cache folder (default under XDG_CACHE_HOME)
#   KUBEBUILDER_ASSETS  a folder with ready binaries, as `setup-envtest use -p path` prints it: what it holds is used as it
#                       is, only the rest is built
# Needs: go. A kubectl in PATH is used if it is within one minor of the API server.
set -euo pipefail

say() { echo "build: $*" >&2; }
die() { say "$*"; exit 1; }
minor() { sed -E 's/^[^0-9]*1\.([0-9]+).*/\1/' <<<"$1"; }

have=${KUBEBUILDER_ASSETS:-}
if [ -z "${KUBERNETES_VERSION:-}" ] && [ -x "$have/kube-apiserver" ]; then
  KUBERNETES_VERSION=$("$have/kube-apiserver" --version | sed 's/.* //') # what is built must fit what is there
fi
KUBERNETES_VERSION=${KUBERNETES_VERSION:-v1.37.2}
HELM_VERSION=${HELM_VERSION:-v4.3.1}
UMOCI_VERSION=${UMOCI_VERSION:-v0.6.0}
HELM_DOCS_VERSION=${HELM_DOCS_VERSION:-v1.14.2}
KUSTOMIZE_CONTROLLER_VERSION=${KUSTOMIZE_CONTROLLER_VERSION:-v1.9.6}
AGE_VERSION=${AGE_VERSION:-v1.3.2}
ASSETS=${ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/credreset/assets/$KUBERNETES_VERSION}

# source_of MODULE VERSION: downloads the module, prints its folder.
source_of() {
  local json
  json=$(go mod download -json "$1@$2") || die "$1 $2 cannot be downloaded: $(sed -n 's/.*"Error": //p' <<<"$json")"
  sed -n 's/^\t"Dir": "\(.*\)",*/\1/p' <<<"$json"
}

# compile NAME MODULE VERSION PACKAGE [ldflags]: builds PACKAGE of MODULE. The module's own go.mod is used, so that its
# dependencies are exactly the ones it was released with; only `replace`s that point into its source tree, which a
# published module lacks, are turned into the published modules of the same release.
compile() {
  local name=$1 module=$2 version=$3 package=$4 flags=${5:-} src tmp begin
  src=$(source_of "$module" "$version")
  tmp=$(mktemp -d "$ASSETS/.$name.XXXXXX")
  cp "$src/go.mod" "$src/go.sum" "$tmp"
  chmod u+w "$tmp"/go.*
  # Kubernetes: k8s.io/api => ./staging/src/k8s.io/api, published as v0.X.Y. etcd: ../api, required at its real version.
  sed -E -i -e "s#^(\s+)(\S+) => \./staging/src/\S+#\1\2 => \2 v0.${version#v1.}#" -e '/ => \.\.?\//d' "$tmp/go.mod"
  begin=$SECONDS pid=
  trap 'kill $pid 2>/dev/null || true; rm -rf "'"$tmp"'"' EXIT
  GOWORK=off CGO_ENABLED=0 GOFLAGS=-mod=mod go build -C "$src" -modfile="$tmp/go.mod" -v -trimpath -buildvcs=false \
    -ldflags "-s -w $flags" -o "$tmp/$name" "$package" >"$tmp/log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    [ $(((SECONDS - begin) % 15)) != 0 ] || say "$name $version: $((SECONDS - begin)) s, $(grep -vc '^go: ' "$tmp/log") packages"
  done
  wait "$pid" || { tail -n 20 "$tmp/log" >&2; die "$name $version failed"; }
  pid=
  mv "$tmp/$name" "$ASSETS/$name" # last, and within one file system: a half-built binary is never seen
  echo "$version" >"$ASSETS/$name.version"
  rm -rf "$tmp"
  trap - EXIT
  say "$name $version: built in $((SECONDS - begin)) s, $(du -m "$ASSETS/$name" | cut -f1) MB"
}

# missing NAME VERSION: is it still to be built? Takes the lock if so, and then looks again: another run may have built it. If
# nothing is to be built, it prints the name, and says no.
missing() {
  local try
  for try in free locked; do
    if [ -x "$ASSETS/$1" ] && { [ -z "$2" ] || [ "$(cat "$ASSETS/$1.version" 2>/dev/null)" = "$2" ]; }; then return 1; fi
    [ -z "$only_missing" ] || { echo "$1" && return 1; }
    [ $try = free ] || break
    mkdir -p "$ASSETS"
    exec 9>"$ASSETS/.lock"
    flock -n 9 || { say "waiting for another build in $ASSETS"; flock 9; }
    rm -rf "$ASSETS"/.*.?????? # left by a build that was killed
  done
}

kubectl_in_path() {
  local k v d
  k=$(command -v kubectl) || return 1
  v=$("$k" version --client 2>/dev/null | sed -n 's/^Client Version: //p')
  d=$(($(minor "${v:-v1.0}") - $(minor "$KUBERNETES_VERSION")))
  [ "${d#-}" -le 1 ] && echo "$k"
}

provide() { # provide NAME: sets $path to it, building it if need be
  local name=$1 v=$KUBERNETES_VERSION cb=k8s.io/component-base/version
  path=$have/$name
  if [ -n "$have" ] && [ -x "$path" ]; then return; fi
  if [ "$name" = kubectl ] && path=$(kubectl_in_path); then return; fi
  path=$ASSETS/$name
  case $name in
    etcd)
      v=${ETCD_VERSION:-}
      missing etcd "$v" || return 0
      [ -n "$v" ] || v=v$(sed -n 's/^ETCD_VERSION=.*:-\(.*\)}/\1/p' "$(source_of k8s.io/kubernetes "$KUBERNETES_VERSION")/hack/lib/etcd.sh")
      compile etcd go.etcd.io/etcd/server/v3 "$v" . ;;
    helm)
      missing helm "$HELM_VERSION" || return 0
      compile helm helm.sh/helm/v4 "$HELM_VERSION" ./cmd/helm "-X helm.sh/helm/v4/internal/version.version=$HELM_VERSION" ;;
    age)
      missing age "$AGE_VERSION" || return 0
      compile age filippo.io/age "$AGE_VERSION" ./cmd/age ;;
    helm-docs)
      missing helm-docs "$HELM_DOCS_VERSION" || return 0
      compile helm-docs github.com/norwoodj/helm-docs "$HELM_DOCS_VERSION" ./cmd/helm-docs ;;
    umoci)
      missing umoci "$UMOCI_VERSION" || return 0
      compile umoci github.com/opencontainers/umoci "$UMOCI_VERSION" ./cmd/umoci ;;
    kustomize-controller)
      v=$KUSTOMIZE_CONTROLLER_VERSION
      missing "$name" "$v" || return 0
      local flux=github.com/fluxcd sources
      sources=$(sed -n "s#^\s*$flux/source-controller/api ##p" "$(source_of $flux/$name "$v")/go.mod")
      cat "$(source_of $flux/$name "$v")"/config/crd/bases/*.yaml "$(source_of $flux/source-controller "$sources")"/config/crd/bases/*.yaml \
        >"$path.yaml"
      compile "$name" $flux/$name "$v" . ;;
    kube-apiserver | kube-controller-manager | kubectl)
      missing "$name" "$v" || return 0
      compile "$name" k8s.io/kubernetes "$v" "./cmd/$name" "-X $cb.gitVersion=$v -X $cb.gitMajor=1 -X $cb.gitMinor=$(minor "$v") \
-X $cb.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$v" ;;
    *) die "unknown: $name" ;;
  esac
}

only_missing=
[ "${1:-}" != --missing ] || { only_missing=1 && shift; }
[ $# != 0 ] || set -- etcd kube-apiserver kube-controller-manager kubectl helm umoci kustomize-controller age
for name; do
  provide "$name"
  [ -n "$only_missing" ] || echo "$(tr a-z- A-Z_ <<<"$name")=$path"
done
