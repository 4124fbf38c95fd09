# Everything a fresh Debian or Ubuntu machine with git, make and a Rust toolchain needs is done by
# the targets themselves. One cargo profile (--release) serves them all, so that RocksDB, about
# a quarter to half an hour on two cores, is compiled once.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Settings of `make run`, for example: make run ARGS='--storage.path=/srv/onggi'
ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what the build needs (a C++ compiler and libclang) where it is missing
	@scripts/setup.sh

.PHONY: build
build: setup ## build target/release/onggi
	cargo build --release --locked --bin onggi

.PHONY: run
run: build ## build and serve on 0.0.0.0:9595, data in ./data
	@scripts/run.sh $(ARGS)

.PHONY: test
test: setup ## everything CI checks: format, lints, documentation, all tests
	@scripts/test.sh

.PHONY: fmt
fmt: ## format the sources
	cargo fmt

.PHONY: peers
peers: ## fetch Prometheus 3.5 and 2.42, the node exporter, HAProxy and an S3 server into a cache folder
	@scripts/peers.sh
	@scripts/s3-server.sh

.PHONY: prometheus-test
prometheus-test: setup peers ## real Prometheus senders, their answers compared with ours
	ONGGI_PEERS_REQUIRED=1 cargo test --release --locked --test it -- prometheus:: --nocapture --test-threads=1

.PHONY: kill-test
kill-test: setup ## 100 × SIGKILL under load: every acknowledged sample is there, once
	ONGGI_KILLS=$${ONGGI_KILLS:-100} cargo test --release --locked --test it -- kill:: --nocapture --test-threads=1

.PHONY: crash-test
crash-test: setup ## power cuts: every crash image of a recorded run, in every model
	ONGGI_CRASH_IMAGES=$${ONGGI_CRASH_IMAGES:-all} cargo test --release --locked --test it -- crash:: --nocapture --test-threads=1

.PHONY: memory-test
memory-test: setup ## ten heavy queries over 30 days beside ingestion: resident memory within 512 MiB
	ONGGI_MEMORY_MIB=$${ONGGI_MEMORY_MIB:-512} ONGGI_MEMORY_SERIES=$${ONGGI_MEMORY_SERIES:-2000} \
	ONGGI_MEMORY_STEP_SECONDS=$${ONGGI_MEMORY_STEP_SECONDS:-60} ONGGI_MEMORY_SECONDS=$${ONGGI_MEMORY_SECONDS:-180} \
	cargo test --release --locked --test it -- memory:: --nocapture --test-threads=1

.PHONY: explosion-test
explosion-test: setup ## a label explosion and heavy queries for ten minutes: anonymous memory within 512 MiB
	ONGGI_EXPLOSION_SECONDS=$${ONGGI_EXPLOSION_SECONDS:-600} ONGGI_EXPLOSION_MIB=$${ONGGI_EXPLOSION_MIB:-512} \
	ONGGI_EXPLOSION_GOOD_SERIES=$${ONGGI_EXPLOSION_GOOD_SERIES:-20000} ONGGI_EXPLOSION_PERIOD_SECONDS=$${ONGGI_EXPLOSION_PERIOD_SECONDS:-5} \
	ONGGI_EXPLOSION_HISTORY_SERIES=$${ONGGI_EXPLOSION_HISTORY_SERIES:-1000} ONGGI_EXPLOSION_HISTORY_STEP_SECONDS=$${ONGGI_EXPLOSION_HISTORY_STEP_SECONDS:-60} \
	cargo test --release --locked --test it -- explosion:: --nocapture --test-threads=1

.PHONY: churn-test
churn-test: setup ## 100k series, 20 % replaced an hour, ONGGI_CHURN_DAYS (7) in simulated time: memory, index and disk stay flat
	cargo test --release --locked --test it -- long::churn --ignored --nocapture --test-threads=1

.PHONY: year-test
year-test: setup ## a year of 2000 series (ONGGI_YEAR_{SERIES,DAYS}) in simulated time: size, start, cost of queries per day
	cargo test --release --locked --test it -- long::year --ignored --nocapture --test-threads=1

.PHONY: soak-test
soak-test: setup ## an hour (ONGGI_SOAK_SECONDS) of writes with churn beside questions: the last third takes what the second took
	ONGGI_SOAK_SECONDS=$${ONGGI_SOAK_SECONDS:-3600} ONGGI_SOAK_EVERY_SECONDS=$${ONGGI_SOAK_EVERY_SECONDS:-10} \
	ONGGI_SOAK_SERIES=$${ONGGI_SOAK_SERIES:-100000} ONGGI_SOAK_RATE=$${ONGGI_SOAK_RATE:-20000} \
	ONGGI_SOAK_CHURN_PERCENT=$${ONGGI_SOAK_CHURN_PERCENT:-20} ONGGI_SOAK_LOOPS=$${ONGGI_SOAK_LOOPS:-3} \
	cargo test --release --locked --test it -- soak:: --nocapture --test-threads=1

.PHONY: monstrous
monstrous: setup ## how long small queries take alone and beside monstrous ones
	cargo test --release --locked --test it -- isolation::measure --ignored --nocapture --test-threads=1

.PHONY: bitflip-test
bitflip-test: setup ## every byte of a small data directory flipped in turn: found or harmless
	ONGGI_BIT_FLIPS=$${ONGGI_BIT_FLIPS:-all} cargo test --release --locked --test it -- check:: --nocapture --test-threads=1

.PHONY: fixture
fixture: setup ## write tests/fixtures/$$ONGGI_FIXTURE: a data directory of this version, once for each
	cargo test --release --locked --test it -- pinned::write --ignored --exact --nocapture

.PHONY: fuzz
fuzz: setup ## damaged and hostile bytes for every decoder, for FUZZ_SECONDS each (default 60)
	ONGGI_FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --release --locked --lib fuzz -- --ignored --nocapture --test-threads=1

.PHONY: schemathesis
schemathesis: build ## parameters of every endpoint fuzzed from the served description (SCHEMATHESIS_EXAMPLES each)
	@scripts/schemathesis.sh

.PHONY: replication-test
replication-test: setup ## SEEDS more days (20000) of the replication core's simulation; goes on where it stopped
	cargo test --release --locked --lib replication::simulation::broken_rules::broken -- --include-ignored --nocapture
	ONGGI_REPLICATION_SEEDS=$${SEEDS:-20000} cargo test --release --locked --lib replication::simulation::long_run -- --ignored --nocapture

.PHONY: replicas-test
replicas-test: setup peers ## three replicas behind HAProxy, killed, paused, ended, wiped and cut off at random for ONGGI_REPLICAS_SECONDS (3600)
	ONGGI_PEERS_REQUIRED=1 ONGGI_REPLICAS_SECONDS=$${ONGGI_REPLICAS_SECONDS:-3600} \
	cargo test --release --locked --test it -- replicas:: --nocapture --test-threads=1

.PHONY: garage-test
garage-test: setup peers ## the same on three store nodes, which are killed and paused, too (built the first time; GARAGE=binary)
	@if garage=$$(scripts/garage.sh $${GARAGE:-}); then \
	ONGGI_STORE=garage ONGGI_GARAGE="$$garage" ONGGI_PEERS_REQUIRED=1 \
	ONGGI_REPLICAS_SECONDS=$${ONGGI_REPLICAS_SECONDS:-600} \
	cargo test --release --locked --test it -- replicas:: --nocapture --test-threads=1; fi

.PHONY: upgrade-test
upgrade-test: setup peers ## a rolling restart under load from the commit PREVIOUS, built in a folder of its own, to this one
	@scripts/previous.sh "$${PREVIOUS:?which commit, as in PREVIOUS=HEAD~1}"
	ONGGI_PREVIOUS_BINARY=$$(scripts/previous.sh --binary "$$PREVIOUS") ONGGI_PEERS_REQUIRED=1 \
	cargo test --release --locked --test it -- replicas::disturbances::a_rolling --nocapture --test-threads=1

.PHONY: replicas-bench
replicas-bench: setup peers ## what replicas cost and how quick they are, beside a single server: a table
	cargo test --release --locked --test it -- replicas::figures::measure --exact --ignored --nocapture

.PHONY: manifests
manifests: ## the files in docker/ against their schemas and the programs that read them
	@scripts/manifests.sh

.PHONY: peers-bench
peers-bench: setup ## beside Prometheus and VictoriaMetrics: the same data, the same questions; tables and plots
	@scripts/peers.sh victoria-metrics || echo "*** peers: could not be fetched; who is not there is left out" >&2
	cargo bench --locked --bench peers -- run

.PHONY: growth-bench
growth-bench: setup ## what samples cost at 10k to 3M series, and questions at 1 to 30 days of history: a table
	ONGGI_BENCH_SERVERS=$${ONGGI_BENCH_SERVERS:-onggi} cargo bench --locked --bench peers -- growth

.PHONY: bench
bench: setup ## criterion benches
	cargo bench --locked
