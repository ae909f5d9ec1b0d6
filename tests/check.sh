#!/usr/bin/env bash
# The checks that need no running program. One line each; what a failed one said follows it.
set -uo pipefail
cd "$(dirname "$0")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

step() {
	local name=$1
	shift
	if "$@" >"$log" 2>&1; then
		echo "check $name ... ok"
	else
		echo "check $name ... FAILED"
		cat "$log"
		failed=1
	fi
}

deny=$(ls "$cache"/cargo-deny/*/bin/cargo-deny 2>/dev/null | tail -n 1)
step formatting cargo fmt --all -- --check
step lints cargo clippy --quiet --workspace --all-targets -- -D warnings
step documentation env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
step dependencies "${deny:-cargo-deny}" check bans licenses sources
echo "check: advisories are not looked up (their database needs a network beyond the package registries)"
exit $failed
