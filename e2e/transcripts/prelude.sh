# What the transcripts' commands may use beside kubectl. Each command runs in a shell of its own, in the directory $TMPDIR.

# Runs a command until it succeeds, for at most 30 s, and shows only its last words: for what a cluster does in its own time.
eventually() {
    tries=0
    until said=$("$@" 2>&1); do
        tries=$((tries + 1))
        if [ $tries -ge 150 ]; then break; fi
        sleep 0.2
    done
    printf '%s\n' "$said"
}

# watching NAME ARGUMENTS...: starts `kubectl get -w ARGUMENTS` in the background and returns when it has said something.
watching() {
    name=$1
    shift
    kubectl get -w --request-timeout=300s "$@" >"$TMPDIR/$name.watch" 2>&1 &
    echo $! >"$TMPDIR/$name.pid"
    eventually test -s "$TMPDIR/$name.watch" >/dev/null
}

# seen NAME N: waits until that watch has said N lines, ends it, and shows them.
seen() {
    has_lines() { [ "$(wc -l <"$TMPDIR/$1.watch")" -ge "$2" ]; }
    eventually has_lines "$1" "$2" >/dev/null
    kill "$(cat "$TMPDIR/$1.pid")" 2>/dev/null || echo 'it ended by itself'
    cat "$TMPDIR/$1.watch"
}

# editor SCRIPT: writes an editor for `kubectl edit` that runs sed with SCRIPT.
editor() {
    printf '#!/bin/sh\nsed -i "%s" "$1"\n' "$1" >"$TMPDIR/editor"
    chmod +x "$TMPDIR/editor"
}
