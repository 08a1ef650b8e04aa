# shellcheck shell=bash
# Everything that up.sh and down.sh want to know, in one place. Each may be set in the environment
# before; those with :? have no default, because nobody should get one by accident.
# There are no credentials here: the AWS command line takes them from a profile, from single sign-on
# (aws sso login) or from the role of the machine.

: "${ALLOWED_CIDR:?set it to the addresses that may reach the API and SSH, such as 203.0.113.7/32}"
: "${BUCKET_PREFIX:?set it to a name that is yours alone, such as hodlgo-4711: three buckets get it}"

export ALLOWED_CIDR BUCKET_PREFIX
export CLUSTER_NAME="${CLUSTER_NAME:-zoo.k8s.local}"
export AWS_REGION="${AWS_REGION:-ap-southeast-2}"
export ZONE="${ZONE:-${AWS_REGION}b}"
export KUBERNETES_VERSION="${KUBERNETES_VERSION:-1.34.2}"
export CONTROL_PLANE_TYPE="${CONTROL_PLANE_TYPE:-t3.medium}" # the book's m3.medium is of 2014
export NODE_TYPE="${NODE_TYPE:-t3.large}"
export NODES="${NODES:-2}"
export GPU_TYPE="${GPU_TYPE:-g4dn.xlarge}"
export GPU_NODES="${GPU_NODES:-0}"
export SSH_PUBLIC_KEY="${SSH_PUBLIC_KEY:-$HOME/.ssh/id_ed25519.pub}"

export STATE_BUCKET="${BUCKET_PREFIX}-kops-state"    # private; what kOps knows of the cluster
export OIDC_BUCKET="${BUCKET_PREFIX}-kops-oidc"      # public; the keys by which AWS trusts its pods
export MODELS_BUCKET="${BUCKET_PREFIX}-models"       # private; models, images, predictions
export KOPS_STATE_STORE="s3://${STATE_BUCKET}"
