#!/bin/sh
# Makes what must not be in an image or a commit, once, in the folder secrets/ beside this file:
#   callback-tokens.json  the viewer's and the operator's token of each contributor's local API
#   viewer-token          the viewer's again, as Prometheus reads it
#   grafana-password      of Grafana's user admin
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

# Others than the owner can't enter the folder; the users in the containers read the files.
put() { printf '%s' "$2" >"secrets/$1"; chmod 0444 "secrets/$1"; }

if [ ! -e secrets/callback-tokens.json ]; then
  viewer=$(random)
  put viewer-token "$viewer"
  put callback-tokens.json "{\"viewer\": \"$viewer\", \"operator\": \"$(random)\"}"
fi
[ -e secrets/grafana-password ] || put grafana-password "$(random)"
