#!/bin/sh
# Starts Prometheus (port 9090) and Grafana (port 3000), which show the searches of this machine; Ctrl-C ends both.
# Where they keep what they have seen: NAS_DASHBOARD_DATA, by default ~/.cache/nas/dashboard.
set -eu

NAS_DASHBOARD=$(cd "$(dirname "$0")" && pwd)
data=${NAS_DASHBOARD_DATA:-${XDG_CACHE_HOME:-$HOME/.cache}/nas/dashboard}
RAY_FOLDER=${RAY_TMPDIR:-${TMPDIR:-/tmp}}/ray # where Ray keeps its sessions

if command -v grafana >/dev/null; then
    grafana="grafana server"
elif command -v grafana-server >/dev/null; then # until version 9
    grafana=grafana-server
else
    echo "start.sh: no grafana on the PATH; see https://grafana.com/docs/grafana/latest/setup-grafana/installation" >&2
    exit 2
fi
if ! command -v prometheus >/dev/null; then
    echo "start.sh: no prometheus on the PATH; install it, on Debian with: apt install prometheus" >&2
    exit 2
fi

mkdir -p "$data/prometheus" "$data/grafana"
sed "s#/tmp/ray/#$RAY_FOLDER/#" "$NAS_DASHBOARD/prometheus.yml" >"$data/prometheus.yml"
export NAS_DASHBOARD RAY_FOLDER
export GF_PATHS_PROVISIONING="$NAS_DASHBOARD/provisioning" GF_PATHS_DATA="$data/grafana"
export GF_AUTH_ANONYMOUS_ENABLED=true GF_SECURITY_ALLOW_EMBEDDING=true GF_SERVER_HTTP_ADDR=127.0.0.1
export GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH="$NAS_DASHBOARD/boards/search.json"

prometheus --config.file="$data/prometheus.yml" --storage.tsdb.path="$data/prometheus" \
    --web.listen-address=127.0.0.1:9090 &
prometheus=$!
trap 'kill "$prometheus" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
echo "searches: http://localhost:3000"
$grafana --homepath "${GRAFANA_HOME:-/usr/share/grafana}"
