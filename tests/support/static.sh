#!/usr/bin/env bash
# static.sh COMMAND...: a command of cargo, such as cargo build, for programs as they are in the image: linked statically. Commands
# with the same profile share what they build.
# Needs: cargo, a C compiler with the static glibc 2.34 or later (older ones look names up by shared libraries).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags are for the program alone: macros are libraries that the compiler loads. Paths of this machine stay out.
export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD= --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
exec "$@" --locked --target "$host"
