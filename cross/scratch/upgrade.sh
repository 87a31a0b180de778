# From a version before to the given package, of which the configuration says something else by default. Sourced by cross/scratch.sh:
# `upgrades` does all of it and leaves nothing. What an administrator decided holds: his configuration stays, with the package's own beside
# it; what he left alone becomes the new one; a service that he switched off stays so.

# An administrator's own words in the file that came with the package, and a device in a file of his own.
mine() {
  echo "# mine" >> "$root$config_dir/$config"
  [ "$name" != twinway-gateway ] || printf '[[device]]\nname = "mine"\nasset = "plant/mine"\n[device.modbus]\nhost = "127.0.0.1"\n' \
    > "$root$config_dir/conf.d/mine.toml"
}

# Whether it is as it should be, by the way that was gone.
upgraded() {
  local has=$root$config_dir/$config beside
  case "$kind" in deb) beside=$has.dpkg-dist ;; tar) beside=$has.dist ;; rpm) beside=$has.rpmnew ;; esac
  told=$(within "$name" version) && [[ $told == *"$version"* ]] || failed "$1: version: $told"
  [ ! -e "$root/usr/share/doc/$name/gone.txt" ] || failed "$1: what only the version before had is still there"
  if [ "$1" = untouched ]; then
    ! grep -q "version before" "$has" || failed "$1: the configuration is still that of the version before"
  else
    head -n1 "$has" | grep -q "version before" && tail -n1 "$has" | grep -q "# mine" || failed "$1: an administrator's configuration is gone"
    ! grep -q "version before\|# mine" "$beside" || failed "$1: ${beside#"$root"} is not the new package's"
    checks "${beside#"$root"}" || failed "$1: the new package's configuration is refused"
    rm "$beside"
  fi
  [ "$(cd "$root$config_dir" && find . -type f ! -path './secrets/*' | sort | xargs)" = "$2" ] ||
    failed "$1: in $config_dir: $(cd "$root$config_dir" && find . -type f | sort | xargs)"
  checks "$config_dir/$config" || failed "$1: the configuration is refused after the upgrade"
}

checks() {
  if [ "$name" = twinway-cloud ]; then as_user "$name" check --config "$1"; else as_user "$name" check "$1"; fi > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; return 1; }
}

# `kept WAY COMMAND...`: an administrator's changes, then the upgrade by that command.
kept() {
  local way=$1 files="./$config"
  shift
  install_it "$older" > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "the version before does not install"; }
  mine
  [ "$name" != twinway-gateway ] || files="./conf.d/mine.toml ./$config"
  within systemctl --quiet disable "$name.service" > "$work/log" 2>&1
  "$@" > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "$way: does not install over the version before"; }
  upgraded "$way" "$files"
  [ ! -L "$root/etc/systemd/system/multi-user.target.wants/$name.service" ] || failed "$way: an upgrade switched the service on again"
  gone
}

# dpkg asks, and nobody is there: it stops half-way, and is told later.
told_later() {
  ! within dpkg -i "/new/$file" < /dev/null || failed "dpkg did not ask"
  grep -q "# mine" "$root$config_dir/$config" || failed "half of an upgrade took the configuration"
  checks "$config_dir/$config" || failed "half of an upgrade: the configuration is refused"
  within dpkg --force-confold --configure -a
}

gone() {
  { remove_it && purge_it; } > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "cannot be taken away after an upgrade"; }
  left_over
}

upgrades() {
  local older
  older=$(cross/scratch/older.sh "$package" "$root/new") || failed "no version before can be made of it"
  install_it "$older" > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "the version before does not install"; }
  grep -q "version before" "$root$config_dir/$config" || failed "the version before has the same configuration: this proves nothing"
  install_it "$package" > "$work/log" 2>&1 < /dev/null || { cat "$work/log" >&2; failed "untouched: does not install over the version before"; }
  upgraded untouched "./$config"
  [ -L "$root/etc/systemd/system/multi-user.target.wants/$name.service" ] || failed "untouched: an upgrade switched the service off"
  gone
  case "$kind" in
    deb)
      kept "dpkg told to keep" within dpkg --force-confold -i "/new/$file"
      kept "dpkg asked, answered N" within dpkg -i "/new/$file" <<< N
      kept "dpkg could not ask" told_later
      ;;
    *) kept "changed" install_it "$package" ;;
  esac
  rm "$older"
}
