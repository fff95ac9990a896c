#!/usr/bin/env bash
# Runs tests of a build of branch `faults3` with one planted fault after the other, and tells which of them turned red.
#
#   LETHE_PROOFS=path [LETHE_LIB=path] [LETHE_API=path] [LETHE_DISASTER=path] /tmp/run-faults.sh [fault ...]
#
# LETHE_PROOFS, LETHE_LIB, LETHE_API, LETHE_DISASTER: the test binaries `proofs`, of the library, `api` and `disaster` (what needs one of
# the last three is left out without it). `disaster` runs the program that was built with it, which must be of the same tree.
# Without names all faults are run: first all filters once without a fault, those of a binary in one go; then each fault, whose filters are
# gone through until one is red. Options, by environment:
#   LETHE_TREE   the worktree (/tmp/wt-faults2)         LETHE_LIMIT    seconds for each filter (180); LETHE_LIMIT_D of disaster (300)
#   LETHE_OUT    where the logs go (/tmp/run-faults.out)  LETHE_ALL=1    go on with a fault behind the first filter that is red
#   LETHE_NO_BASE=1  without the run without a fault    LETHE_ANYHOW=1  go on although that one is not green
#   LETHE_WIDE=1     the wide filters                   LETHE_LIMIT_BASE  seconds for a binary without a fault (900)
# It says at the end for how long it ran. A filter that is cut off is no red test: see its log.
set -uo pipefail

TREE=${LETHE_TREE:-/tmp/wt-faults2}
LIMIT=${LETHE_LIMIT:-180}
LIMIT_D=${LETHE_LIMIT_D:-300}
LIMIT_BASE=${LETHE_LIMIT_BASE:-900}
OUT=${LETHE_OUT:-/tmp/run-faults.out}
: "${LETHE_PROOFS:?the path of the test binary proofs}"
for binary in "$LETHE_PROOFS" ${LETHE_LIB:+"$LETHE_LIB"} ${LETHE_API:+"$LETHE_API"} ${LETHE_DISASTER:+"$LETHE_DISASTER"}; do
    [ -x "$binary" ] || { echo "no binary: $binary" >&2; exit 2; }
done
unset LETHE_FAULT LETHE_FAULT_SEEN LETHE_PROOF LETHE_SEED

# Fault, and the filters that ought to meet it, the likeliest first: P the proofs, L the library's tests, A the api's, D the disasters. Each
# is the beginning of a test's name, or a module. These may be met by none:
#   units-open   who decides opens again what it closed; it harms only where another order is taken back in the very moment
#   busy1, busy2 each may stand in for the other; `busy` is both
#   x1           no test has a hold come between the look of the end in part and its commit
FAULTS='
units-open          P:kept::pieces:: P:kept::beside:: P:cut_short::a_shred_that_leaves_what_a_law_keeps
law-unmoved         P:kept::judged::rules_that_come_before P:kept::judged::
law-unmoved-tenant  P:kept::judged::the_first_law_of_a_tenant P:kept::judged::a_collection_that_comes_under
later-known         L:domain::retention::kept:: P:kept::since::what_is_left_while_a_rule_waits
rules-between       L:vault::ops::minimum:: P:kept::since::a_minimum_that_came_and_went
rules-last          L:vault::ops::minimum:: P:kept::since::a_minimum_that_came_and_went
behind              P:kept::since::a_clock_that_is_set_back P:kept::since::
busy1               P:termination::what_an_order_has_closed_of_what_is_held P:termination::an_order_that_is_taken_back
busy2               P:termination::what_an_order_has_closed_of_what_is_held P:termination::an_order_that_is_taken_back
busy                P:termination::what_an_order_has_closed_of_what_is_held P:termination::an_order_that_is_taken_back P:cut_short::an_end_in_part
leaves              P:termination::a_value_that_is_being_sent
still-sent          P:kept::crossing::a_download P:erased::
is-left             P:termination::what_is_over_and_held_is_read
hidden              P:termination::of_a_tenant_that_has_ended
leaves-by           P:kept::crossing::a_list_and_a_read P:kept::crossing:: P:erased::
has-ended           A:termination::an_owner_cannot_put
carry-check         P:termination::what_was_about_to_be_approved P:approvals::what_is_there_is_gone_through
shred-again         P:approvals::what_is_asked_for_again
x1                  P:termination::a_hold_that_ends_by_itself P:termination::a_tenant_of_which_something_is_held P:cut_short::an_end_in_part
x2                  P:kept::races::a_collections_shred P:kept::races::a_tenants_shred P:kept::approved::an_approval_against
x3                  P:approvals::an_id_that_is_given P:approvals::an_approved_order_that_was_held A:approvals::a_person_is_approved
x4                  P:approvals::nothing_is_approved
x5                  P:termination::what_is_over_and_held_is_read
events-seen         L:domain::retention::events:: P:events::joined::
mark-again          P:events::a_mark_from_before P:marks::
quiet               P:events::an_order_that_looks_at
try-again           P:events::who_cannot_be_followed
left-events         P:events::left::
plan-earlier-now    P:approvals::what_two_persons_have_shortened_stays P:events::moved:: P:events::joined::
bundle-law          P:bundle::what_an_order
bundle-law1         P:bundle::what_an_order_is_about_to_leave
bundle-law2         P:bundle::what_an_order_leaves
bundle-hold         P:bundle::a_hold_that_comes
bundle-shred        P:bundle::a_shred_in_the_middle_of_an_export_that_leaves
bundle-tomb         P:bundle::no_tombstone
s3-prove            D:buckets_cut::a_manifest_that_was_written
s3-kept             D:buckets_cut::a_manifest_that_was_written
s3-match            D:buckets_cut::a_server_without_conditional_writes
s3-list             D:buckets_cut::a_generation_whose_files
'

# The wide ones, for what the narrow ones do not find (LETHE_WIDE=1): whole modules, hours for all of them.
if [ -n "${LETHE_WIDE:-}" ]; then
FAULTS='
units-open          P:kept:: P:cut_short:: P:orders:: P:events::
law-unmoved         P:kept:: P:approvals::
law-unmoved-tenant  P:kept:: P:termination::
later-known         L:domain::retention::kept:: P:kept:: P:retention_model::
rules-between       L:vault::ops::minimum:: P:kept:: P:retention_model::
rules-last          L:vault::ops::minimum:: P:kept:: P:retention_model::
behind              P:kept:: P:retention_model::
busy1               P:termination:: P:cut_short::
busy2               P:termination:: P:cut_short::
busy                P:termination:: P:cut_short::
leaves              P:termination::
still-sent          P:kept:: P:erased::
is-left             P:termination:: A:termination::
hidden              P:termination:: A:termination::
leaves-by           P:kept:: P:erased::
has-ended           P:termination:: P:tokens:: A:termination::
carry-check         P:termination:: P:approvals::
shred-again         P:approvals::
x1                  P:termination:: P:holds:: P:cut_short::
x2                  P:kept:: P:termination::
x3                  P:approvals:: P:cut_short:: A:approvals::
x4                  P:approvals:: A:approvals:: A:meanwhile::
x5                  P:termination:: A:termination::
events-seen         L:domain::retention::events:: P:events:: P:aliases::
mark-again          P:marks:: P:events:: P:reports:: P:retention_model:: A:retention::
quiet               P:events:: P:kept:: P:cut_short::
try-again           P:events::
left-events         P:events:: P:kept:: P:cut_short:: P:retention_model::
plan-earlier-now    P:events:: P:marks:: P:reports:: P:approvals:: P:retention_model::
bundle-law          P:bundle:: A:bundles:: A:moved::
bundle-law1         P:bundle:: A:moved::
bundle-law2         P:bundle:: A:moved::
bundle-hold         P:bundle:: A:bundles::
bundle-shred        P:bundle:: A:moved::
bundle-tomb         P:bundle:: P:events:: A:moved::
s3-prove            D:buckets_cut::
s3-kept             D:buckets_cut::
s3-match            D:buckets_cut::
s3-list             L:server::backup:: D:buckets:: D:buckets_cut::
'
fi

mkdir -p "$OUT"
WORK=$(mktemp -d /tmp/run-faults.XXXXXX)
trap 'rm -rf "$WORK"' EXIT

# The binary of a kind of filters; nothing where it was not given.
binary_of() {
    case $1 in
        P) echo "$LETHE_PROOFS" ;;
        L) echo "${LETHE_LIB:-}" ;;
        A) echo "${LETHE_API:-}" ;;
        D) echo "${LETHE_DISASTER:-}" ;;
    esac
}

# Some filters of one binary: sets failed (names, one a line), and note (what else there is to say). $1 the fault or "base", $2 the kind,
# then the filters.
run() {
    local fault=$1 kind=$2 limit=$LIMIT binary rc log shown
    shift 2
    failed='' note=''
    binary=$(binary_of "$kind")
    shown=$kind:$1
    [ $# -eq 1 ] || shown="$kind: $# filters"
    if [ -z "$binary" ]; then
        note=" [$shown not run]"
        return
    fi
    [ "$kind" != D ] || limit=$LIMIT_D
    log=$OUT/$fault.$kind.${1//:/_}.log
    if [ "$fault" = base ]; then log=$OUT/base.$kind.log limit=$LIMIT_BASE; fi
    mkdir -p "$WORK/tmp"
    local from=$SECONDS
    (
        cd "$TREE" || exit 2
        export CARGO_MANIFEST_DIR=$TREE TMPDIR=$WORK/tmp
        if [ "$fault" != base ]; then export LETHE_FAULT=$fault LETHE_FAULT_SEEN=$WORK/seen; fi
        exec timeout -k 10 "$limit" "$binary" --test-threads 2 "$@"
    ) >"$log" 2>&1
    rc=$?
    rm -rf "$WORK/tmp"
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
    case $rc in
        0) ;;
        101) [ -n "$failed" ] || note=" [$shown: exit 101 and no test named]" ;;
        124 | 137) note=" [$shown: cut off after $limit s]" ;;
        *) note=" [$shown: exit $rc]" ;;
    esac
    grep -q '^running [1-9][0-9]* test' "$log" || note="$note [$shown: no test has run]"
    echo "  $fault $shown: $((SECONDS - from)) s, exit $rc" >&2
}

chosen=()
while read -r fault filters; do
    [ -n "$fault" ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $fault "* ]] || continue
    grep -rqF "fault!(\"$fault\")" "$TREE/src" || { echo "not planted: $fault" >&2; exit 2; }
    chosen+=("$fault $filters")
done <<<"$FAULTS"
[ ${#chosen[@]} -gt 0 ] || { echo "no such fault: $*" >&2; exit 2; }
for name in "$@"; do
    grep -q "^$name " <<<"$FAULTS" || { echo "no such fault: $name" >&2; exit 2; }
done

# Every filter, and that each names a test.
mapfile -t filters < <(printf '%s\n' "${chosen[@]}" | tr -s ' ' '\n' | grep ':' | sort -u)
for filter in "${filters[@]}"; do
    binary=$(binary_of "${filter%%:*}")
    [ -n "$binary" ] || continue
    [ -n "$("$binary" --list "${filter#*:}" | sed -n '/: test$/p')" ] || { echo "no such test: $filter" >&2; exit 2; }
done

row() { printf '| %-18s | %-7s | %6s | %s\n' "$@"; }
row fault reached failed 'first three'

if [ -z "${LETHE_NO_BASE:-}" ]; then
    all='' notes=''
    for kind in P L A D; do
        mapfile -t names < <(printf '%s\n' "${filters[@]}" | sed -n "s/^$kind://p")
        [ ${#names[@]} -gt 0 ] || continue
        run base "$kind" "${names[@]}"
        all+=${failed:+$failed$'\n'}
        notes+=$note
    done
    count=$(grep -c . <<<"$all")
    row base - "$count" "$(grep . <<<"$all" | head -3 | paste -sd' ')$notes"
    # What was left out for want of a binary is no failure.
    if [ "$count" -gt 0 ] || [ -n "$(sed 's/ \[[^]]* not run\]//g' <<<"$notes")" ]; then
        echo "the run without a fault is not green: see $OUT/base.*" >&2
        [ -n "${LETHE_ANYHOW:-}" ] || exit 1
    fi
fi

missed=()
hung=()
unrun=()
for line in "${chosen[@]}"; do
    read -r fault own <<<"$line"
    all='' notes=''
    rm -f "$WORK/seen"
    for filter in $own; do
        run "$fault" "${filter%%:*}" "${filter#*:}"
        all+=${failed:+$failed$'\n'}
        notes+=$note
        if [ -z "${LETHE_ALL:-}" ] && [ -n "$failed" ]; then break; fi
    done
    count=$(grep -c . <<<"$all")
    reached=no
    [ -e "$WORK/seen" ] && reached=yes
    row "$fault" "$reached" "$count" "$(grep . <<<"$all" | head -3 | paste -sd' ')$notes"
    if [ "$count" -gt 0 ]; then continue; fi
    case $notes in
        *"cut off"*) hung+=("$fault") ;;
        *"not run]"*) unrun+=("$fault") ;;
        *) missed+=("$fault") ;;
    esac
done
echo
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s"
[ ${#hung[@]} -eq 0 ] || echo "cut off, and no test has failed: ${hung[*]}"
[ ${#unrun[@]} -eq 0 ] || echo "not found, and not all was run: ${unrun[*]}"
if [ ${#missed[@]} -gt 0 ]; then
    echo "no test has found: ${missed[*]}"
elif [ ${#hung[@]} -eq 0 ] && [ ${#unrun[@]} -eq 0 ]; then
    echo "every fault was found"
fi
