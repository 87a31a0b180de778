# What there is to package. Sourced: `product twinway-gateway` sets `name`, `summary`, `config_dir`, `config`, `state_dir`, `recommends`, `services` and
# `guides`.
product() {
  name=$1
  case "$1" in
    twinway-gateway)
      summary="edge gateway: reads machines, keeps every sample until the cloud has it"
      config_dir=/etc/twinway config=gateway.toml state_dir=/var/lib/twinway user=twinway
      # For a cloud or a broker of which a public authority signs the certificate.
      recommends=ca-certificates
      # What runs, in the order in which it is stopped: the updater starts the gateway.
      services="twinway-update.path twinway-update.service twinway-gateway.service"
      guides=(installer engineer)
      ;;
    twinway-cloud)
      summary="cloud of Twinway: twins, history, commands, page and API"
      config_dir=/etc/twinway-cloud config=cloud.toml state_dir=/var/lib/twinway-cloud user=twinway-cloud
      recommends=
      services=twinway-cloud.service
      guides=(platform operator)
      ;;
    *) echo "unknown product $1: expected twinway-gateway or twinway-cloud" >&2; return 2 ;;
  esac
  version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
  # The time in packages: that of the sources.
  export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
}
