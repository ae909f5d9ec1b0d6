#!/usr/bin/env bash
# Brings Debian's docker-registry into the cache: `build.sh` fetches it if it is missing, `build.sh path` prints the folder.
#
# It is unpacked and not installed: installed it would serve this machine's images to everybody on port 5000.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
out="$cache/bin/$(sha256sum <"$here/build.sh" | cut -c1-16)-registry"

[ "${1:-}" = path ] && { echo "$out"; exit 0; }
[ ! -x "$out/docker-registry" ] || exit 0

echo "setup: fetching docker-registry"
rm -rf "$out.new" && mkdir -p "$out.new" && cd "$out.new"
apt-get -q=2 -o APT::Sandbox::User=root download docker-registry || { echo "setup: docker-registry could not be fetched; run apt-get update as root" >&2; exit 1; }
dpkg-deb --fsys-tarfile docker-registry_*.deb | tar -xO ./usr/bin/docker-registry >docker-registry
chmod +x docker-registry && rm docker-registry_*.deb
cd "$cache" && rm -rf "$out" && mv "$out.new" "$out"
