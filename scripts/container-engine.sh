#!/usr/bin/env bash
# Provides a container engine with an image of Postgres for the tests on a container, and prints the name of the image.
#
# An engine that answers is used as it is. If there is none, Debian's is installed and started, which takes root on
# Debian; it keeps running. An image that cannot be pulled is built from Debian's packages, under the same conditions.
# If one of them cannot be had, this says why on stderr and exits with 1.
set -euo pipefail

image=postgres:15
# The release of Debian that has this version of Postgres.
release=bookworm

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
log=$work/log

fail() {
  [ ! -s "$log" ] || tail -n 5 "$log" >&2
  echo "$1" >&2
  exit 1
}

may_install() {
  [ "$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release 2> /dev/null
}

install_packages() {
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
    > "$log" 2>&1 < /dev/null || fail "Debian's packages cannot be installed: $*"
}

engine_answers() {
  timeout 10 docker info > /dev/null 2>&1
}

start_engine() {
  may_install || fail "No container engine answers, and only root on Debian can install one here"
  command -v dockerd > /dev/null || install_packages docker.io iptables ca-certificates
  # Newer releases of Debian have the client in a package of its own.
  command -v docker > /dev/null || install_packages docker-cli
  # Where there is an init system, the package has started it.
  engine_answers && return
  setsid dockerd > /var/log/dockerd.log 2>&1 < /dev/null &
  local engine=$!
  for _ in $(seq 60); do
    engine_answers && return
    kill -0 "$engine" 2> /dev/null || break
    sleep 0.5
  done
  cp /var/log/dockerd.log "$log"
  fail "The container engine does not start"
}

build_image() {
  may_install || fail "The image $image cannot be pulled, and only root on Debian can build it"
  command -v debootstrap > /dev/null || install_packages debootstrap
  local root=$work/root
  debootstrap --variant=minbase --include=postgresql-15 "$release" "$root" > "$log" 2>&1 ||
    fail "Debian's packages for the image cannot be put together"
  rm -rf "$root"/var/{cache/apt,lib/apt/lists,lib/postgresql}/* "$root"/usr/share/{doc,locale,man}
  chroot "$root" install -d -o postgres -g postgres /run/postgresql
  cat > "$root/usr/local/bin/start-postgres" << 'ENTRYPOINT'
#!/bin/sh
# Starts a server as Docker's official image does, as far as tests need that: the same variables, and options of the
# server as arguments.
set -eu
if [ "${1:-}" = postgres ]; then shift; fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

as_postgres() {
  setpriv --reuid=postgres --regid=postgres --init-groups "$@"
}

if [ ! -e "$PGDATA/PG_VERSION" ]; then
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  install -o postgres -m 600 /dev/null /run/postgresql/password
  printf '%s\n' "${POSTGRES_PASSWORD:?must be set}" > /run/postgresql/password
  as_postgres initdb --pgdata="$PGDATA" --username="$user" --pwfile=/run/postgresql/password \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  rm /run/postgresql/password
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    echo "CREATE DATABASE \"$database\"" | as_postgres postgres --single -D "$PGDATA" postgres
  fi
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -D "$PGDATA" -c listen_addresses='*' "$@"
ENTRYPOINT
  chmod 755 "$root/usr/local/bin/start-postgres"
  tar -C "$root" -c . | docker import \
    --change 'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/usr/sbin' \
    --change 'ENV PGDATA=/var/lib/postgresql/data' \
    --change 'ENTRYPOINT ["start-postgres"]' \
    --change 'EXPOSE 5432' \
    - "$image" > "$log" 2>&1 || fail "The image $image cannot be built"
  echo "The image $image was built from Debian's packages" >&2
}

engine_answers || start_engine
docker image inspect "$image" > /dev/null 2>&1 ||
  timeout 180 docker pull "$image" > "$log" 2>&1 ||
  build_image
echo "$image"
