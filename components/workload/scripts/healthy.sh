# Waits until Docker calls a container healthy. One that Docker calls unhealthy is started again, once: what was in its way may be gone.
#
#   healthy.sh NAME SECONDS [GATE]   with a gate: until homelab-containers has opened it, too
set -eu
name=$1 patience=$2 gate=${3:-} restarted='' waited=0

while :; do
  state=$(docker inspect --type container --format '{{.State.Status}}, {{with .State.Health}}{{.Status}}{{else}}no health check{{end}}' "$name")
  if [ "$state" = 'running, healthy' ]; then
    [ -n "$gate" ] && [ ! -d "$gate" ] || exit 0
    state="$state, but its gate $gate is shut: systemctl status homelab-containers says more"
  fi
  if [ "$state" = 'running, unhealthy' ]; then
    [ -z "$restarted" ] || break
    docker restart "$name" >&2
    restarted=yes waited=0
  fi
  [ "$waited" -lt "$patience" ] || break
  sleep 2
  waited=$((waited + 2))
done
docker inspect --type container --format '{{with .State.Health}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$name" | tail -n 1 >&2
echo "container $name is not healthy ($state): docker logs $name says more" >&2
exit 1
