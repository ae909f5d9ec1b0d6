#!/usr/bin/env bash
# Every check and every test, one test program after another, and one line at the end that counts them all. With the name of one program
# of the crate `tests`, only that one.
#
# Tests of the crate `tests` make namespaces and talk to libvirt daemons, so they run as root: by sudo when this does not.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
broken=0

# What a test program needs to know of its surroundings; sudo would drop it.
root_runner() {
	local name words='"sudo","env"'
	for name in HOME PATH XDG_CACHE_HOME TMPDIR CARGO_TARGET_DIR KUBEBUILDER_ASSETS PROVIDER_LIBVIRT_BIN RUST_BACKTRACE KEEP_SCRATCH BLESS; do
		[ -n "${!name:-}" ] && words+=",\"$name=${!name}\""
	done
	echo "target.'cfg(unix)'.runner=[$words]"
}

# Many programs here have no tests; that they ran none is not worth seven lines each.
without_empty() {
	awk '/^ +(Running|Doc-tests) / { title = $0; next }
		/^running 0 tests/ { empty = 1; next }
		/^running / { print title; empty = 0 }
		/^$/ || (empty && /^test result: ok. 0 passed/) { next }
		{ print; fflush() }'
}

# A program that dies without a result line has failed all the same.
test_crates() {
	local before after
	before=$(grep -c '^test result: FAILED' "$log")
	cargo test --no-fail-fast "$@" 2>&1 | tee -a "$log" | without_empty
	[ "${PIPESTATUS[0]}" = 0 ] && return
	after=$(grep -c '^test result: FAILED' "$log")
	[ "$after" -gt "$before" ] && ! grep -q '(signal: ' "$log" && return
	broken=$((broken + 1))
	echo "run: cargo test $* broke off; see above"
}

only=()
if [ -n "${1:-}" ]; then only=(--test "$1"); else tests/check.sh 2>&1 | tee -a "$log"; fi
cargo build --workspace || { broken=$((broken + 1)); echo "run: the build failed"; }
[ ${#only[@]} -gt 0 ] || test_crates --workspace --exclude tests
# What a program's own tests are built with may have been linked into it: what is tried below is what is shipped.
[ ${#only[@]} -gt 0 ] || cargo build --workspace || { broken=$((broken + 1)); echo "run: the build failed"; }
privileged=()
if [ "$(id -u)" != 0 ]; then
	echo "run: the integration tests run by sudo"
	privileged=(--config "$(root_runner)")
fi
test_crates "${privileged[@]}" -p tests "${only[@]}"

echo
grep -E '^(test|check) .* \.\.\. (FAILED|ignored.*)$' "$log" || true
# What a probe found to be impossible here ends as a test that passed.
grep -oE 'skipped: .*' "$log" || true
awk -v broken="$broken" '
	/^check .* ok$/ { passed++ }
	/^check .* FAILED$/ { failed++ }
	/skipped: / { skipped++; passed-- }
	/^test result: / {
		for (i = 2; i <= NF; i++) {
			if ($i ~ /^passed/) passed += $(i - 1)
			if ($i ~ /^failed/) failed += $(i - 1)
			if ($i ~ /^ignored/) skipped += $(i - 1)
		}
	}
	END {
		failed += broken
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0 || passed == 0
	}' "$log"
