#!/usr/bin/env bash
# Makes the cluster of vars.sh on AWS with kOps 1.30 or newer. It costs money until down.sh is run.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need aws kops kubectl python3
check_cidr "$ALLOWED_CIDR"
[[ -f "$SSH_PUBLIC_KEY" ]] || fail "no SSH key $SSH_PUBLIC_KEY: ssh-keygen -t ed25519"
aws sts get-caller-identity >/dev/null || fail "no AWS credentials: aws sso login, or set AWS_PROFILE"

umask 077
rendered="$here/rendered"
mkdir -p "$rendered"
for template in cluster control-plane nodes gpu-nodes; do
    render "$here/$template.yaml" >"$rendered/$template.yaml"
done

echo "cluster $CLUSTER_NAME in $ZONE: 1 x $CONTROL_PLANE_TYPE, $NODES x $NODE_TYPE," \
    "$GPU_NODES x $GPU_TYPE; reached from $ALLOWED_CIDR"
confirm "$CLUSTER_NAME" "This makes three buckets and the machines above, which cost money."

# make_bucket NAME: private and encrypted, if it is not there yet.
make_bucket() {
    if ! aws s3api head-bucket --bucket "$1" 2>/dev/null; then
        aws s3 mb "s3://$1" --region "$AWS_REGION"
    fi
    aws s3api put-bucket-versioning --bucket "$1" --versioning-configuration Status=Enabled
    aws s3api put-public-access-block --bucket "$1" --public-access-block-configuration \
        BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
}
make_bucket "$STATE_BUCKET"
make_bucket "$MODELS_BUCKET"

# AWS reads the cluster's public signing keys from this one, and nothing else lies in it.
if ! aws s3api head-bucket --bucket "$OIDC_BUCKET" 2>/dev/null; then
    aws s3 mb "s3://$OIDC_BUCKET" --region "$AWS_REGION"
    aws s3api put-bucket-ownership-controls --bucket "$OIDC_BUCKET" \
        --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerPreferred}]'
    aws s3api put-public-access-block --bucket "$OIDC_BUCKET" --public-access-block-configuration \
        BlockPublicAcls=false,IgnorePublicAcls=false,BlockPublicPolicy=true,RestrictPublicBuckets=true
fi

for template in cluster control-plane nodes gpu-nodes; do
    kops replace --force --filename "$rendered/$template.yaml"
done
kops create sshpublickey "$CLUSTER_NAME" --ssh-public-key "$SSH_PUBLIC_KEY"
kops update cluster --name "$CLUSTER_NAME" --yes --admin=12h
kops validate cluster --name "$CLUSTER_NAME" --wait 20m
echo "$CLUSTER_NAME is up: kubectl get nodes"
