# aortica: `make demo` first, `make test` before a commit. `make help` lists the targets.
#
# Budget on 2 cores, cold, in minutes (CI: at most 60 together): runtime 1, lint 9, unit 35 (of it 16 to build, 9 simulation), k8s 2, smoke 4, faults 5, clients 4.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
AORTICA := target/debug/aortica
RELEASE := target/release/aortica
ORT := .cache/onnxruntime/libonnxruntime.so
export ORT_DYLIB_PATH := $(CURDIR)/$(ORT)

DEMO := demo
DEMO_PARTICIPANTS ?= 60
DEMO_VISITS ?= 2
DEMO_SEED ?= 2026

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- what is needed -------------------------------------------------------------------------------------------------

.PHONY: runtime
runtime: $(ORT) ## fetch the pinned ONNX Runtime library, hash checked, into .cache/
$(ORT): pipelines/runtime/requirements.txt pipelines/runtime/fetch.sh
	@sh pipelines/runtime/fetch.sh .cache/onnxruntime
	@touch -h $@

.PHONY: build
build: ## build the program (target/debug/aortica; pixel code is optimised)
	$(CARGO) build --locked -p aortica

.PHONY: release
release: ## build for deployment (target/release/aortica; slow to build)
	$(CARGO) build --locked --release --workspace --bins

# --- see it -----------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: runtime build ## simulate a cohort of DICOM files, score it, print the cohort table, write overlays and a report
	@if [ ! -f $(DEMO)/cohort/truth.parquet ]; then \
	  $(AORTICA) phantom --participants $(DEMO_PARTICIPANTS) --visits $(DEMO_VISITS) --seed $(DEMO_SEED) --out $(DEMO)/cohort; fi
	$(AORTICA) score $(DEMO)/cohort/images --lake $(DEMO)/lake --overlays $(DEMO)/overlays
	$(AORTICA) query --lake $(DEMO)/lake "SELECT scanner_maker, count(*) AS images, count(aac24_total) AS totals, \
	  round(avg(aac24_total), 2) AS mean_aac24, sum(CASE WHEN aac24_cat_label = 'high' THEN 1 ELSE 0 END) AS high \
	  FROM readings WHERE status = 'scored' GROUP BY scanner_maker ORDER BY scanner_maker"
	$(AORTICA) evaluate --lake $(DEMO)/lake --truth $(DEMO)/cohort
	$(AORTICA) pseudonymise $(DEMO)/cohort/participants.csv --column patient_id --key $(DEMO)/lake.key -o $(DEMO)/participants_keyed.csv
	$(AORTICA) report --lake $(DEMO)/lake --visit first --with $(DEMO)/participants_keyed.csv --event event --time followup_years \
	  --covariates age_years --site site --human $(DEMO)/cohort/human_readings.parquet --json \
	  --title "Demo: a simulated cohort" -o $(DEMO)/report.html
	@rm -rf $(DEMO)/release
	$(AORTICA) release --lake $(DEMO)/lake --name "aortica demo" -o $(DEMO)/release
	@echo
	@echo "Report:    $(DEMO)/report.html (open it in a browser, or print it)"
	@echo "Overlays:  $(DEMO)/overlays   (open any PNG)"
	@echo "Release:   $(DEMO)/release    (tables under disclosure control, to publish)"
	@echo "Lake:      $(DEMO)/lake       (try: $(AORTICA) query --lake $(DEMO)/lake)"

.PHONY: distributed-demo
distributed-demo: runtime build ## the same through RabbitMQ, an S3 server, two stage services, two workers and a committer, live
	@DEMO_PARTICIPANTS=$(DEMO_PARTICIPANTS) DEMO_SEED=$(DEMO_SEED) tests/demo/distributed.sh

# --- test it ----------------------------------------------------------------------------------------------------------

# Everything is built with --workspace, so that each dependency is built once, with one set of features.
.PHONY: test
test: runtime lint unit k8s smoke faults clients ## everything that CI runs

.PHONY: lint
lint: ## formatting and warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: unit
unit: runtime ## the tests of every crate, those against a real RabbitMQ, and the integration tests
	$(CARGO) build --locked --workspace --all-targets
	tests/services/with_rabbitmq.sh $(CARGO) test --locked --workspace

.PHONY: interop
interop: runtime ## clients of Triton and KServe, unmodified, against a stage service
	$(CARGO) build --locked --workspace --all-targets
	tests/peers/inference/clients.sh

.PHONY: release-peers
release-peers: demo ## a release of the demo's cohort read by Python and, where installed, by R
	tests/peers/release/run.sh $(AORTICA) $(DEMO)/lake

.PHONY: k8s
k8s: runtime ## manifests, alerts, dashboard, policies: against their schemas, against the program, against a real RabbitMQ
	$(CARGO) build --locked --workspace --all-targets
	tests/k8s/run.sh

.PHONY: smoke
smoke: runtime ## the mission in one thin slice: RabbitMQ, S3, submit, worker, infer, commit; the table equals that of score
	$(CARGO) build --locked --workspace --all-targets
	tests/smoke/run.sh

.PHONY: faults
faults: runtime ## real RabbitMQ and Ceph RGW: kills, restarts, cut and half-open connections, refusals, a full disk; nothing is lost
	$(CARGO) build --locked --workspace --all-targets
	tests/faults/run.sh

.PHONY: clients
clients: runtime ## psql, psycopg, SQLAlchemy, pandas, unmodified, against a served lake
	$(CARGO) build --locked --workspace --all-targets
	tests/peers/serve/run.sh

# seeds of the simulated distributed run: any number, 2,000 take about 20 minutes on 2 cores
SIMULATION_SEEDS ?= 2000

.PHONY: prove
prove: runtime release ## the longer proofs; their records are checked in under tests/prove
	AORTICA_SIMULATION_SEEDS=$(SIMULATION_SEEDS) AORTICA_SIMULATION_RECORD=$(CURDIR)/tests/prove/simulation.json \
	  $(CARGO) test --locked --workspace --lib simulation::as_asked -- --ignored
	python3 tests/prove/kill.py --aortica $(RELEASE) --record tests/prove/kill.json
	python3 tests/prove/precision.py --aortica $(RELEASE) --record tests/prove/precision.json
	tests/prove/others.sh --aortica $(RELEASE) --record tests/prove/others.json
	tests/prove/triton.sh --aortica $(RELEASE) --record tests/prove/triton.json
	python3 tests/prove/faults.py --aortica $(RELEASE) --record tests/prove/faults.json
	$(CARGO) build --locked -p inference --example load
	python3 tests/prove/soak.py --aortica $(RELEASE) --load target/debug/examples/load --record tests/prove/soak.json

.PHONY: bench
bench: runtime ## images a second, cost and memory beside a Python pipeline; jobs and readings a second; statistics beside DuckDB
	$(CARGO) build --locked --release --workspace --bins --examples
	tests/bench/run.sh
	tests/bench/run.sh --precision fp32 --record tests/bench/record-fp32.json
	tests/bench/infer.sh
	tests/bench/infer.sh --precision fp32 --record tests/bench/infer-fp32.json
	tests/peers/inference/clients.sh
	tests/bench/queue.sh
	tests/bench/statistics.sh
	tests/bench/statistics.sh --rows 100000000 --memory 4096 --turns 2 --rounds 2 --record tests/bench/statistics-large.json
	tests/peers/forest/run.sh

.PHONY: models
models: ## train networks and forest from the seed and export them (PyTorch, hours); checkpoints resume
	pipelines/training/run.sh
	pipelines/training/forest.sh

.PHONY: results
results: runtime release ## score simulated test cohorts with every pipeline, write docs/results.md (20 GB, some 20 minutes; resumes; QUICK=1 tries it)
	pipelines/results/run.sh

# --- clean ------------------------------------------------------------------------------------------------------------

.PHONY: clean-demo
clean-demo: ## forget the demo's cohort, lake and overlays
	rm -rf $(DEMO)
