# Sourced by try, check and bench: packages by name, and the build. The caller stands in the project's directory.

# Installs those of the Debian packages that are missing; quick when none is.
need_packages() {
  local missing
  missing=$(comm -23 <(printf '%s\n' "$@" | sort) \
    <(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p' | sort))
  [ -n "$missing" ] || return 0
  echo "installing: "$missing >&2
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq >&2 || true
  # shellcheck disable=SC2086 -- one word a package
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
}

# build/, made or brought up to date; silent unless it fails.
build_project() {
  local log
  log=$(mktemp)
  if ! { { [ -f build/build.ninja ] || meson setup build; } && ninja -C build; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "the build failed" >&2
    return 1
  fi
  rm -f "$log"
}
