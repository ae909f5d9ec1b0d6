#!/usr/bin/env bash
# Brings Debian's SSH server and the program that makes SASL accounts into the cache: `build.sh` fetches them if they are missing,
# `build.sh path` prints the folder.
#
# They are unpacked and not installed: installed they would let people in at this machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
out="$cache/bin/$(sha256sum <"$here/build.sh" | cut -c1-16)-servers"

[ "${1:-}" = path ] && { echo "$out"; exit 0; }
[ ! -x "$out/sshd" ] || exit 0

echo "setup: fetching the SSH server and saslpasswd2"
rm -rf "$out.new" && mkdir -p "$out.new" && cd "$out.new"
for package in openssh-server sasl2-bin libwrap0; do
	apt-get -q=2 -o APT::Sandbox::User=root download "$package" || { echo "setup: $package could not be fetched; run apt-get update as root" >&2; exit 1; }
	dpkg-deb -x "$package"_*.deb root
done
find root -name 'libwrap.so.0' -exec cp -L {} . \;
cp root/usr/sbin/sshd root/usr/sbin/saslpasswd2 .
rm -rf root ./*.deb
cd "$cache" && rm -rf "$out" && mv "$out.new" "$out"
