# Passes once the bouncer named by the argument has fetched decisions while this script was watching. The engine lists a bouncer that
# comes from a new address as NAME@ADDRESS.
set -eu

name=$1

last_pull() {
	cscli bouncers list -o raw | awk -F, -v name="$name" '($1 == name || index($1, name "@") == 1) && $4 != "" { print $4 }' | sort | tail -n 1
}

before=$(last_pull)
for _ in $(seq 45); do
	sleep 1
	now=$(last_pull)
	if [ -n "$now" ] && [ "$now" != "$before" ]; then
		exit 0
	fi
done
echo "the bouncer $name has not fetched decisions for 45 s: attacks would be detected and let through" >&2
cscli bouncers list >&2
exit 1
