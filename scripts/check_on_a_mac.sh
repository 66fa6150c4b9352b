#!/usr/bin/env bash
# Checks a conversion with Apple's own tools, on a Mac.
#
#   scripts/check_on_a_mac.sh CONVERTED [--units all|ane|gpu|cpu] [--keep DIRECTORY]
#
# CONVERTED is the output directory of `anelith convert`. In this order, it
#   1. compiles {prefix}_monolithic_combined.mlpackage with Apple's compiler and
#      compares the result, file by file, with the bundle anelith writes when told
#      the same compiler version;
#   2. loads our bundle with Core ML, feeds one full prefill batch and some single
#      tokens through one state, and compares the logits with what `anelith run`
#      computes from the same file; of the other outputs it prints the largest
#      difference;
#   3. feeds the same tokens to prefill at once and to infer one by one, and
#      compares what Core ML says then;
#   4. runs 500 steps of infer through one state (STEPS=number for more), as some
#      failures show only after some hundred;
#   5. prints on which device Core ML would run each op. This judges nothing.
#
# docs/check-on-a-mac.md says what to expect and what to report.
#
# Needs Apple silicon, macOS 15, Xcode (not only its command line tools) and a
# release build of anelith (or ANELITH=path).
#
# Exit status: 0 everything agrees, 4 something differs, 1 a tool is missing or
# fails, 2 usage.
#
# This script has not been run by its authors: anelith is made on Linux, and no
# Mac was at hand. Expect to have to mend it; what it finds is worth reporting.
set -euo pipefail

usage() {
    sed -n '2,/^set -/p' "$0" | sed -e '/^set -/d' -e 's/^# \{0,1\}//' >&2
    exit 2
}

fail() {
    echo "error: $1" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
anelith=${ANELITH:-$here/../target/release/anelith}
converted=
units=ane
work=
while [ $# -gt 0 ]; do
    case $1 in
        --units) [ $# -ge 2 ] || usage; units=$2; shift 2 ;;
        --keep) [ $# -ge 2 ] || usage; work=$2; shift 2 ;;
        -*) usage ;;
        *) [ -z "$converted" ] || usage; converted=$1; shift ;;
    esac
done
[ -n "$converted" ] || usage
case $units in all | ane | gpu | cpu) ;; *) usage ;; esac

echo "note: the authors of anelith have not run this script; see its header."

[ "$(uname -s)" = Darwin ] || fail "this needs macOS (found $(uname -s))"
[ "$(uname -m)" = arm64 ] || fail "this needs Apple silicon (found $(uname -m))"
[ "$(sw_vers -productVersion | cut -d. -f1)" -ge 15 ] || fail "models with state need macOS 15 (found $(sw_vers -productVersion))"
command -v xcrun >/dev/null || fail "xcrun is missing: install Xcode"
xcrun --find coremlcompiler >/dev/null 2>&1 || fail "coremlcompiler is missing: install Xcode, then xcode-select -s /Applications/Xcode.app"
xcrun --find swiftc >/dev/null 2>&1 || fail "swiftc is missing: install Xcode"
[ -x "$anelith" ] || fail "$anelith is missing: run cargo build --release, or set ANELITH"

shopt -s nullglob
packages=("$converted"/*_monolithic_combined.mlpackage)
[ ${#packages[@]} -eq 1 ] || fail "$converted holds ${#packages[@]} *_monolithic_combined.mlpackage, expected 1"
package=${packages[0]}
name=$(basename "$package" .mlpackage)
bundle=$converted/$name.mlmodelc
[ -d "$bundle" ] || fail "$bundle is missing: run step 4 of anelith convert"
vocabulary=$(sed -n 's/^ *vocab_size: *//p' "$converted/meta.yaml" | head -n 1)
[ -n "$vocabulary" ] || fail "$converted/meta.yaml has no vocab_size"

if [ -z "$work" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work/apple" "$work/ours"
status=0
xcrun swiftc -O -o "$work/coreml_check" "$here/coreml_check.swift" || fail "coreml_check.swift does not compile"

echo
echo "== 1. Apple's compiler"
xcrun coremlcompiler compile "$package" "$work/apple" || fail "coremlcompiler refused $package"
apple=$work/apple/$name.mlmodelc
version() {
    sed -n 2p "$apple/model.mil" | sed -n "s/.*{\"$1\", \"\([^\"]*\)\"}.*/\1/p"
}
sorted_bytes() {
    xxd -p -c 1 "$1" | sort | tr -d '\n'
}
versions=$(version coremlc-component-MIL),$(version coremlc-version)
echo "compiler version: $versions"
ours=$work/ours/$name.mlmodelc
rm -rf "$ours"
"$anelith" compile "$package" "$ours" --coremlc-version "$versions" || fail "anelith compile failed"
while IFS= read -r file; do
    if [ ! -f "$apple/$file" ]; then
        echo "only ours:    $file"
        status=4
    elif [ ! -f "$ours/$file" ]; then
        echo "only Apple's: $file"
        status=4
    elif cmp -s "$apple/$file" "$ours/$file"; then
        echo "identical:    $file"
    elif [ "$file" = ./metadata.json ] && "$work/coreml_check" json "$apple/$file" "$ours/$file"; then
        echo "equal:        $file (another order of keys, which is arbitrary)"
    elif [ "$file" = ./coremldata.bin ] && [ "$(sorted_bytes "$apple/$file")" = "$(sorted_bytes "$ours/$file")" ]; then
        # Apple's compiler writes the user-defined metadata in no stable order.
        echo "equal:        $file (another order of metadata, which is arbitrary)"
    else
        echo "differs:      $file"
        status=4
        case $file in
            *.mil | *.json) diff "$apple/$file" "$ours/$file" | cut -c1-240 | head -n 20 || true ;;
            *) cmp "$apple/$file" "$ours/$file" || true ;;
        esac
    fi
done < <({ (cd "$apple" && find . -type f); (cd "$ours" && find . -type f); } | sort -u)

echo
echo "== 2. Core ML against anelith run ($units)"
"$work/coreml_check" feeds "$bundle" "$vocabulary" "$work/feeds.json" || fail "cannot read the model's description"
"$anelith" run "$bundle" --feeds "$work/feeds.json" --json-output "$work/ours.json" || fail "anelith run failed"
"$work/coreml_check" run "$bundle" "$units" "$work/feeds.json" "$work/coreml.json" || fail "Core ML could not run $bundle"
"$work/coreml_check" compare "$work/ours.json" "$work/coreml.json" || status=4

echo
echo "== 3. prefill against infer ($units)"
"$work/coreml_check" agree "$bundle" "$units" "$vocabulary" || status=4

echo
echo "== 4. ${STEPS:-500} steps through one state ($units)"
"$work/coreml_check" soak "$bundle" "$units" "$vocabulary" "${STEPS:-500}" || status=4

echo
echo "== 5. Where each op would run ($units)"
"$work/coreml_check" plan "$bundle" "$units" || fail "Core ML made no compute plan"

echo
if [ "$status" -eq 0 ]; then
    echo "everything agrees"
else
    echo "something differs; see above"
fi
exit "$status"
