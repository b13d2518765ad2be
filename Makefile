# Everything here can be typed by hand; `make test` is what CI runs.
SHELL := bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/credreset
DENY := $(CACHE)/bin/cargo-deny
NEXTEST := $(CACHE)/bin/cargo-nextest
MDBOOK := $(CACHE)/bin/mdbook
# Where the book's links out of docs/ lead: this checkout, or the address of the repository's files.
SOURCE ?= ../..
# Clippy looks at what is compiled for the tests, instead of compiling it once more.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver
# $(call run,GROUP,ARGUMENTS): runs tests, beside each other as .config/nextest.toml says. The servers live for minutes: it is cheaper to
# give them memory than to tidy it up, and not worth it to compile them well.
run = rm -f $(call report,$(1)) target/nextest/$(1)/not-run; $(LINTED) GOGC=400 JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 $(NEXTEST) nextest run --profile $(1) $(2)
report = $(1:%=target/nextest/%/junit.xml)
# $(call tests,GROUP,ARGUMENTS): the same, and says where the time went.
tests = $(call run,$(1),$(2)); code=$$?; tests/support/times.py $(call report,$(1)); exit $$code
# Every test but the long search and those on real servers, so that a new file is never left out.
FAST := $(filter-out cluster directories interleavings,$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))

# Real directory servers that the operator is tested on, and those that are to be tested now.
DIRECTORIES := keycloak openldap samba
ONLY ?= $(DIRECTORIES)
comma := ,

.PHONY: help demo image test test-fast test-search test-cluster test-directories bench guarantees lint advisories crds chart-docs book
help:
	@echo 'make demo          watch resets being carried out on a real API server, built the first time (DIRECTORY=keycloak, openldap or samba: a real one; KEEP=1 keeps it up)'
	@echo 'make image         the image as an OCI archive, target/image/credreset.tar; needs no container engine'
	@echo 'make test          lint and all tests; the first time it also builds servers (with KUBECONFIG set, on that cluster)'
	@echo 'make test-fast     the tests that need no server'
	@echo 'make test-search   every interleaving to a depth (CREDRESET_SEARCH=long goes further)'
	@echo 'make test-cluster  the tests on a real API server (KUBECONFIG=... for one of your own; ONLY=chaos,crash_matrix)'
	@echo 'make test-directories  the tests on real directory servers (ONLY=keycloak,openldap,samba)'
	@echo 'make bench         measure against bare clients, into target/benchmarks.json (ONLY=throughput,plan); leave the machine alone meanwhile'
	@echo 'make guarantees    run the proofs and write their figures into docs/guarantees.md'
	@echo 'make lint          format, clippy, licences'
	@echo 'make advisories    known faults of the dependencies, by the RustSec database, which it fetches from github.com: each night, and before a release'
	@echo 'make book          the documentation as a book, in target/book (SOURCE=... for links to files outside docs/)'
	@echo 'make crds          write crds and charts/credreset-crds/templates anew'
	@echo 'make chart-docs    write the README of each chart anew, from its values and README.md.gotmpl (builds helm-docs the first time)'

demo:
	@KEEP=$(KEEP) DIRECTORY=$(DIRECTORY) tests/support/demo/demo.sh

image:
	@tests/support/image.sh

# What needs no server runs while the image is built.
test:
	@rm -f $(call report,alone search servers)
	@$(MAKE) --no-print-directory -j2 test-alone search || { tests/support/times.py $(call report,alone search); exit 1; }
	@$(call run,servers,--test cluster --test directories); code=$$?; tests/support/times.py $(call report,alone search servers); exit $$code

.PHONY: test-alone search tested-image servers status-tools
test-alone: lint $(NEXTEST)
	@$(call run,alone,--lib --bins $(addprefix --test ,$(FAST)))

# It computes for minutes: compiled well, with what is compiled for the image.
search = rm -f $(call report,search); tests/support/static.sh $(NEXTEST) nextest run --cargo-profile tested --profile search --test interleavings
search: tested-image
	@$(search)

# But for the comparison with kubectl and kustomize, which are built for it.
test-fast: $(NEXTEST)
	@$(call tests,alone,--lib --bins $(addprefix --test ,$(FAST)) -E 'not test(=tools::every_tool_sees_what_is_planned)')

# CREDRESET_SEARCH=long goes further, for an hour or so.
test-search: $(NEXTEST)
	@$(search) --no-capture; code=$$?; tests/support/times.py $(call report,search); exit $$code

# ONLY=chaos,crash_matrix: what has this in its name, one test after another, with all that they print.
test-cluster: tested-image
	@$(call tests,servers,--test cluster $(if $(filter command environment,$(origin ONLY)),$(subst $(comma), ,$(ONLY)) --no-capture))

test-directories: only := $(subst $(comma), ,$(ONLY))
test-directories: servers
	@unknown='$(filter-out $(DIRECTORIES),$(only))'; [ -z "$$unknown" ] || { echo "ONLY: $$unknown is not one of: $(DIRECTORIES)" >&2; exit 1; }
	@$(call tests,servers,--test directories $(only))

# What the tests on a real API server need.
servers: $(NEXTEST)
	@if [ -n "$$KUBECONFIG" ]; then echo "on the cluster of KUBECONFIG=$$KUBECONFIG"; tests/support/servers/build.sh helm >/dev/null; else tests/support/servers/build.sh >/dev/null; fi

# What Flux and Argo CD make of a status. It compiles for minutes the first time, and tests have a time limit.
status-tools:
	@CGO_ENABLED=0 go build -C tests/status-tools -o /dev/null .

# Built in half the time of the image that is installed; no smaller and no faster than need be.
tested-image: servers status-tools
	@IMAGE_PROFILE=tested tests/support/image.sh

bench:
	@tests/support/servers/build.sh >/dev/null
	@tests/support/image.sh
	cargo bench --quiet --bench measure -- $(if $(filter command,$(origin ONLY)),$(subst $(comma), ,$(ONLY)))

guarantees:
	@rm -f target/guarantees.jsonl
	CREDRESET_GUARANTEES=$(CURDIR)/target/guarantees.jsonl $(MAKE) test-search test-cluster
	tests/support/guarantees.py target/guarantees.jsonl docs/guarantees.md

lint: $(DENY)
	cargo fmt --check
	@$(LINTED) cargo build --quiet --all-targets
	@said=$$($(LINTED) cargo build --quiet --all-targets --message-format short 2>&1) && [ -z "$$said" ] # what was said above is said again
	$(DENY) --log-level error check licenses bans sources

# Another day may bring another answer, and not every builder reaches github.com: this decides about no commit.
advisories: $(DENY)
	$(DENY) check advisories

$(DENY):
	@echo 'installing cargo-deny, once (minutes)'
	cargo install --quiet --locked --root $(CACHE) --target-dir target/cargo-deny cargo-deny@0.20.2
	rm -rf target/cargo-deny

$(NEXTEST):
	@echo 'installing cargo-nextest, once (minutes)'
	cargo install --quiet --locked --root $(CACHE) --target-dir target/cargo-nextest --no-default-features --features default-no-update cargo-nextest@0.9.151
	rm -rf target/cargo-nextest

crds:
	@rm -f crds/*.yaml charts/credreset-crds/templates/*.yaml
	cargo run --quiet -- crds --into crds
	cargo run --quiet -- crds --into charts/credreset-crds/templates

chart-docs:
	@tool=$$(tests/support/servers/build.sh helm-docs) && "$${tool#*=}" --chart-search-root charts --sort-values-order file

book: $(MDBOOK)
	$(MDBOOK) build docs
	@sed -i -E 's#(href=")\.\./#\1$(SOURCE)/#g; s#(href="$(SOURCE)/[^"]*)\.html#\1.md#g' target/book/*.html

$(MDBOOK):
	@echo 'installing mdbook, once (minutes)'
	cargo install --quiet --locked --root $(CACHE) --target-dir target/mdbook --no-default-features --features search mdbook@0.5.4
	rm -rf target/mdbook
