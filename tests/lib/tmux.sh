# Sourced after e2e.sh by scripts that work a terminal as a person does: a tmux server of their own, one window of 100 x 30.
#
# pane CMD...: starts it as the window's command. keys KEY...: as tmux send-keys. shows TEXT, hides TEXT: waits until the
# screen has (has not) a line with that extended regular expression; a failure shows the screen.

tm() {
  tmux -L "terminal.$$" -f /dev/null "$@"
}

end_panes() {
  tm kill-server 2>/dev/null
}
trap end_panes EXIT

# The pane stays when its command has ended, so that what it left can be seen.
pane() {
  end_panes
  tm new-session -d -x 100 -y 30 "$(printf '%q ' "$@")" \; set-option -g remain-on-exit on \; set-option -g history-limit 5000 \; set-option -sg escape-time 0
}

keys() {
  tm send-keys "$@"
}

type_line() {
  tm send-keys -l "$1"
  tm send-keys Enter
}

screen() {
  tm capture-pane -p "$@"
}

has_text() {
  screen | grep -qE -- "$1"
}

has_no_text() {
  ! has_text "$1"
}

# until_true COMMAND...: within 20 s.
until_true() {
  local n
  for n in $(seq 400); do
    "$@" && return 0
    sleep 0.05
  done
  return 1
}

# waits_for TEST TEXT WORDS
waits_for() {
  cases=$((cases + 1))
  until_true "$1" "$2" && return 0
  fail "the screen $3 '$2'"
  screen | cat -s | sed 's/^/    | /'
  return 1
}

shows() {
  waits_for has_text "$1" 'does not show'
}

hides() {
  waits_for has_no_text "$1" 'still shows'
}

# tty_sane TTY: a person can go on there.
tty_sane() {
  stty -F "$1" -a | tr ';\n' '  ' | grep -qE ' isig icanon.* echo .*' && stty -F "$1" -a | grep -q ' opost' &&
    stty -F "$1" -a | grep -q ' icrnl'
}

pane_tty() {
  tm display-message -p '#{pane_tty}'
}

# The pane's command has ended; its status.
pane_status() {
  until_true ended_pane || { echo running; return; }
  tm display-message -p '#{pane_dead_status}'
}

ended_pane() {
  [ "$(tm display-message -p '#{pane_dead}')" = 1 ]
}
