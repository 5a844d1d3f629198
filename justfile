# The front door: `just check` before a commit, `just` for the list.

# The commands, one line each
default:
    @just --list

# Everything a change must pass, the same as the continuous integration
check:
    ./.ci/run

# The tests, loom models included
test *ARGS:
    cargo test {{ARGS}}

# The loom models alone: every interleaving of the lock-free parts
model *ARGS:
    cargo test -p loom-tests {{ARGS}}

# The whole engine as a function of a seed, so many seeds, and its steps a minute; a seed that failed again: RINGBOLT_SIM_SEED=N just sim
sim SEEDS="30000" *ARGS:
    RINGBOLT_SIM_SEEDS={{SEEDS}} RINGBOLT_SIM_STOPPED=20 cargo test --profile checks --test sim -- --nocapture {{ARGS}}

# Lives of the engine under ThreadSanitizer, and a planted race
tsan:
    ./.ci/sanitize tsan

# The tests under AddressSanitizer with leak detection, and planted faults
asan:
    ./.ci/sanitize asan

# Publishing and handling under RealtimeSanitizer, and planted calls that block
rtsan:
    ./.ci/sanitize rtsan

# Recorded lives of the engine before a judge, and tampered records
history *ARGS="--lives 50":
    ./.ci/lives history {{ARGS}}

# `perf soak` for long: lives of the engine, memory looked at, and planted faults
soak *ARGS="--minutes 30":
    ./.ci/lives soak {{ARGS}}

# The command's readers fuzzed, so many seconds each, and planted faults; installs cargo-fuzz beneath target/ if there is none
fuzz SECONDS="60" *TARGETS:
    ./.ci/fuzz {{SECONDS}} {{TARGETS}}

# The criterion benches, one question a file
bench *ARGS:
    cargo bench {{ARGS}}

# ringbolt beside its peers; drop `--quick` in a run that is to be recorded
perf *ARGS="compare --quick":
    cargo run --release -p perf -- {{ARGS}}

# The bars of one topic (compare, latency, scaling, idle, memory); the last line is the verdict
bars TOPIC="compare":
    cargo run --release -p perf -- {{TOPIC}} --quick --threshold

# Instructions per event against their record; `--record` after a change that is meant to alter them
instructions *ARGS:
    cargo run --release -p perf -- instructions {{ARGS}}

# The documentation, private items included
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --all-features {{ARGS}}
