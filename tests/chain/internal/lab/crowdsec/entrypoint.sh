# What the image's entry point does with our environment and files before it starts the engine: it registers the local agent and every bouncer
# whose key lies in /run/secrets.
set -eu

[ -e /etc/crowdsec/local_api_credentials.yaml ] || cscli machines add localhost --auto --force
for file in /run/secrets/bouncer_key*; do
	name=${file##*/bouncer_key_}
	cscli bouncers list -o raw | cut -d, -f1 | grep -qx "$name" || cscli bouncers add "$name" -k "$(cat "$file")" >/dev/null
done
exec crowdsec -c /etc/crowdsec/config.yaml
