# Ends every session of the person named by the first argument, from inside the session store's container. The store knows which sessions there
# are, but not whose: they are encrypted. So the portal is asked about each, in the way its own page asks, and told to end those of the person.
# The sessions' numbers are secrets: they are handed on by the shell itself, never on a command line.
set -euf

person=$1 portal=$2 port=$3 hostname=$4 cookie=$5

# sessions lists the numbers of all sessions. Those that the portal gave out have 32 characters of this alphabet; a visitor may have chosen
# another number himself, but no login ever keeps it.
sessions() {
	{
		head -n 1 /run/secrets/probe
		echo 'KEYS authelia-session:*'
	} | valkey-cli | sed -n 's/^authelia-session:\([A-Za-z0-9_!#$%^*-]\{32\}\)$/\1/p'
}

# ask makes one request to the portal with a session, and writes the whole answer. The portal closes the connection.
ask() {
	printf '%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Host: %s\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 127.0.0.1\r\nCookie: %s=%s\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}' \
		"$1" "$2" "$hostname" "$hostname" "$cookie" "$3" | nc "$portal" "$port"
}

# A request that began before may write its session back afterwards: what was ended must stay ended for a second.
for _ in 1 2 3 4 5; do
	all=$(sessions) left=
	for session in $all; do
		case $(ask GET /api/state "$session") in
		*'"username":"'"$person"'"'*)
			ask POST /api/logout "$session" >/dev/null
			left=yes
			;;
		*'"status":"OK"'*) ;;
		*)
			echo "the portal does not say whose a session is: sessions with the old password of $person may go on" >&2
			exit 1
			;;
		esac
	done
	[ -n "$left" ] || exit 0
	sleep 1
done
echo "sessions of $person come back after they were ended" >&2
exit 1
