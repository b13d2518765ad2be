#!/usr/bin/env bash
# image.sh [root]: makes the image without a container engine, as an OCI archive: target/image/credreset.tar, from what lies in
# target/image/root. With `root` only that is laid out; the Dockerfile says so. The same program makes the same archive.
# IMAGE_PROFILE: that of cargo, default release; with another it all goes to target/image-PROFILE.
# Needs: what static.sh does, and go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
profile=${IMAGE_PROFILE:-release} image=target/image
[ "$profile" = release ] || image+=-$profile
root=$image/root

# Tests share what is built with another profile, which has their features, too.
tests=(--test interleavings)
[ "$profile" != release ] || tests=()
tests/support/static.sh cargo build --profile "$profile" --bins "${tests[@]}"
rm -rf $image
install -D -t $root "${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/$profile/credreset"
install -D -m 644 -t $root/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt
echo 'hosts: files dns' >$root/etc/nsswitch.conf # hostAliases come before DNS
[ "${1:-}" != root ] || exit 0

umoci=$(tests/support/servers/build.sh umoci)
umoci() { "${umoci#UMOCI=}" "$@"; }
then=1970-01-01T00:00:00Z
version=$(cargo pkgid) version=${version##*[#@]}
name=$(sed -n 's/^  repository: //p' charts/credreset/values.yaml):$version
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$1" -cf "$2" "${@:3}"; }
labels=(title=credreset "version=$version" licenses=Apache-2.0
  "description=Kubernetes operator: password and MFA resets as reviewed manifests, carried out at most once")

pack $root $image/layer.tar credreset etc
umoci init --layout $image/oci
umoci new --image "$image/oci:$name"
umoci raw add-layer --image "$image/oci:$name" --history.created $then $image/layer.tar
umoci config --image "$image/oci:$name" --no-history --created $then --config.user 65532:65532 \
  --config.entrypoint /credreset "${labels[@]/#/--config.label=org.opencontainers.image.}"
umoci gc --layout $image/oci
pack $image/oci $image/credreset.tar blobs index.json oci-layout
rm -r $image/layer.tar $image/oci
echo "image: $image/credreset.tar, $name, $(du -k $image/credreset.tar | cut -f1) KB" >&2
