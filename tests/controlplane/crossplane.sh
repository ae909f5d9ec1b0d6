#!/usr/bin/env bash
# Builds Crossplane and function-auto-ready into the cache: `crossplane.sh` makes what is missing, `crossplane.sh path` prints the folder.
#
# Both are Go modules. Crossplane's CRDs come with its module; function-patch-and-transform cannot be had this way, the tests answer its input.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
key=$( (cd "$here" && cat crossplane.sh go.sh crossplane/* auto-ready/* && uname -m) | sha256sum | cut -c1-16)
out="$cache/bin/$key"

[ "${1:-}" = path ] && { echo "$out"; exit 0; }
# What is made last.
[ -x "$out/function-auto-ready" ] && exit 0

. "$here/go.sh"
go=$(find_go)
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false" GOTOOLCHAIN=local
module=github.com/crossplane/crossplane/v2
version=$(cd "$here/crossplane" && "$go" list -m -f '{{.Version}}' $module)
# Packages say which versions they work with, and Crossplane asks itself for its own.
flags="-s -w -X github.com/crossplane/crossplane-runtime/v2/pkg/version.version=$version"
mkdir -p "$cache/bin"
work=$(mktemp -d "$cache/bin/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "crossplane: building Crossplane $version and function-auto-ready with $("$go" env GOVERSION); the first time takes about three minutes on two cores"
started=$SECONDS
(cd "$here/crossplane" && "$go" build -trimpath -ldflags "$flags" -o "$work/crossplane" $module/cmd/crossplane)
cp -r "$(cd "$here/crossplane" && "$go" list -m -f '{{.Dir}}' $module)/cluster/crds" "$work/crds"
chmod -R u+w "$work/crds"
(cd "$here/auto-ready" && "$go" build -trimpath -ldflags "-s -w" -o "$work/function-auto-ready" github.com/crossplane/function-auto-ready)
mkdir -p "$out"
rm -rf "$out/crds"
mv "$work/crossplane" "$work/crds" "$work/function-auto-ready" "$out/"
echo "crossplane: built in $((SECONDS - started)) s"
