#!/usr/bin/env bash
# Deletes the cluster of vars.sh, after it has shown what goes and was told its name.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need aws kops
kops delete cluster --name "$CLUSTER_NAME" # without --yes it only shows
confirm "$CLUSTER_NAME" "All of that will be deleted, and the volumes with it."
kops delete cluster --name "$CLUSTER_NAME" --yes
echo "gone. The buckets are still there: $STATE_BUCKET, $OIDC_BUCKET, $MODELS_BUCKET"
