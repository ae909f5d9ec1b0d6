#!/usr/bin/env bash
# Brings what building and testing need, and says what it does. Run again it finds everything there and is done in under a second.
#
# Debian 12 and 13, Ubuntu 24.04; as root or with sudo. Everything but packages and the libvirt daemon goes into
# ${XDG_CACHE_HOME:-~/.cache}/provider-libvirt, each piece keyed by what made it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

packages=(
	# to run and to build against libvirt
	libvirt-daemon-system libvirt-clients libvirt-dev qemu-system-x86 qemu-utils ovmf swtpm swtpm-tools dnsmasq-base iproute2 iptables pkg-config gcc libc6-dev
	# for the test guest and its seeds
	busybox-static kmod cpio dosfstools mtools syslinux genisoimage openssl python3 xz-utils zstd
	# for the Debian guests, and disks of hosts
	mmdebstrap e2fsprogs parted
	# for the tests and the demo
	util-linux curl lua5.1
)

root=()
become_root() {
	[ "$(id -u)" = 0 ] && return
	command -v sudo >/dev/null || fail "root is needed to $1; run as root or install sudo"
	root=(sudo)
}

install_packages() {
	command -v dpkg-query >/dev/null || fail "only Debian and Ubuntu are set up by themselves; install by hand: ${packages[*]}"
	local installed package missing=()
	installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${binary:Package}\n' 2>/dev/null | sed -n 's/^ii *\([^:]*\).*/\1/p' | tr '\n' ' ')"
	for package in "${packages[@]}"; do [[ $installed == *" $package "* ]] || missing+=("$package"); done
	[ ${#missing[@]} -gt 0 ] || return 0
	become_root "install packages"
	say "installing ${missing[*]}"
	# A source that cannot be reached is no reason to stop while the others serve these packages.
	"${root[@]}" apt-get -q -q update || say "apt-get update had errors, going on with the lists there are"
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -q install -y --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1 ||
		{ tail -n 20 "$cache/apt.log" >&2; fail "packages could not be installed"; }
}

check_rust() {
	command -v cargo >/dev/null || fail "Rust is missing; install it with rustup: https://rustup.rs"
	local wanted found
	wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/../Cargo.toml")
	found=$(rustc --version | cut -d' ' -f2)
	[ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
		fail "Rust $wanted or newer is needed, this is $found; run: rustup update stable"
	cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 || fail "clippy or rustfmt is missing; run: rustup component add clippy rustfmt"
}

# QEMU runs as a user of group kvm; a node made by hand or by a container runtime may belong to root alone.
open_kvm() {
	[ -c /dev/kvm ] || return 0
	case "$(stat -c %G:%A /dev/kvm)" in kvm:?rw?rw*|*rw?) return 0 ;; esac
	getent group kvm >/dev/null || return 0
	become_root "open /dev/kvm to group kvm"
	say "opening /dev/kvm to group kvm"
	"${root[@]}" chgrp kvm /dev/kvm && "${root[@]}" chmod 660 /dev/kvm || say "that failed; guests will be emulated"
}

answers() { "${root[@]}" timeout 5 virsh -q -c qemu:///system uri >/dev/null 2>&1; }

# Daemons of other mount namespaces, such as those of tests, are not this machine's own.
runs_here() {
	local pid here
	here=$("${root[@]}" readlink /proc/self/ns/mnt)
	for pid in $(pgrep -x "$1"); do
		[ "$("${root[@]}" readlink "/proc/$pid/ns/mnt")" != "$here" ] || return 0
	done
	return 1
}

start_libvirt() {
	[ "$(id -u)" = 0 ] || root=(sudo)
	answers && return 0
	become_root "start libvirtd"
	if [ -d /run/systemd/system ]; then
		say "starting libvirtd by systemd"
		"${root[@]}" systemctl start virtlogd.socket libvirtd.socket 2>/dev/null || "${root[@]}" systemctl start libvirtd
	else
		say "starting virtlogd and libvirtd (there is no systemd)"
		"${root[@]}" mkdir -p /run/libvirt
		runs_here virtlogd || "${root[@]}" virtlogd -d
		runs_here libvirtd || "${root[@]}" libvirtd -d
	fi
	for _ in $(seq 50); do answers && return; sleep 0.2; done
	fail "libvirt does not answer on qemu:///system; see what 'libvirtd' started in the foreground says"
}

# Wheels of it are years old and do not know today's cargo. Unoptimised it builds in a minute and is fast enough.
deny_version=0.20.2
install_deny() {
	local target="$cache/cargo-deny/$deny_version" build="$cache/cargo-deny/.build"
	[ -x "$target/bin/cargo-deny" ] && return
	say "building cargo-deny $deny_version (about a minute)"
	env -u CARGO_BUILD_BUILD_DIR CARGO_TARGET_DIR="$build" cargo install --quiet --locked --debug --no-default-features \
		--root "$target.new" "cargo-deny@$deny_version" || fail "cargo-deny could not be built"
	rm -rf "$target" "$build" && mv "$target.new" "$target"
}

mkdir -p "$cache"
install_packages
check_rust
open_kvm
start_libvirt
install_deny
"$here/controlplane/build.sh"
"$here/controlplane/crossplane.sh"
"$here/guest/build.sh"
"$here/debian/build.sh"
"$here/storagehost/build.sh"
"$here/registry/build.sh"
"$here/servers/build.sh"
say "everything is there"
