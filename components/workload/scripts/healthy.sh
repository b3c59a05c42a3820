# Waits until Docker calls a container healthy. One that Docker calls unhealthy is started again, once: what was in its way may be gone.
#
#   healthy.sh NAME SECONDS
set -eu
name=$1 patience=$2 restarted='' waited=0

while :; do
  state=$(docker inspect --type container --format '{{.State.Status}}, {{with .State.Health}}{{.Status}}{{else}}no health check{{end}}' "$name")
  [ "$state" != 'running, healthy' ] || exit 0
  if [ "$state" = 'running, unhealthy' ]; then
    [ -z "$restarted" ] || break
    docker restart "$name" >&2
    restarted=yes waited=0
  fi
  [ "$waited" -lt "$patience" ] || break
  sleep 2
  waited=$((waited + 2))
done
echo "container $name is not healthy ($state): docker logs $name says more" >&2
exit 1
