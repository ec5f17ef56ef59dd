# Everything needs Go; the race detector a C compiler, the client tests a running
# Docker engine. What else the tests work against, `make tools` installs.

TESTFLAGS ?=
BENCHFLAGS ?= -benchmem
PEERSFLAGS ?=
SOAKFLAGS ?=
PACKAGES ?= ./...

TOOLS := $(or $(GATEHOUSE_TOOLS),$(CURDIR)/.tools/bin)

.PHONY: help run build test bench bench-peers soak lint tools vuln clean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

run: ## run a registry on https://localhost:5000, its data in ./gatehouse-data
	go run ./cmd/gatehouse serve

build: ## build the program, ./gatehouse
	CGO_ENABLED=0 go build -trimpath -o gatehouse ./cmd/gatehouse

test: tools ## run all tests; TESTFLAGS=-race PACKAGES=./registry/... narrow or widen it
	go test -count=1 $(TESTFLAGS) $(PACKAGES)

bench: ## run the benchmarks
	go test -run '^$$' -bench . $(BENCHFLAGS) $(PACKAGES)

bench-peers: build ## measure gatehouse and distribution 3.1.2 side by side, some minutes; PEERSFLAGS=-help
	testbench/tools.sh go registry
	go run ./testbench/peers -ours ./gatehouse -theirs $(TOOLS)/registry $(PEERSFLAGS)

soak: ## kill the server under clients and collector for ten minutes, and find planted bugs; SOAKFLAGS=-help
	go run ./testbench/soak $(SOAKFLAGS)
	GATEHOUSE_SOAK=full go test -count=1 -timeout=30m -run '^TestPlantedBugsAreFound$$' ./testbench/soak

lint: ## check formatting, go vet and staticcheck
	testbench/tools.sh go staticcheck
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt these:" $$unformatted; exit 1; }
	go vet $(PACKAGES)
	$(TOOLS)/staticcheck $(PACKAGES)

tools: ## install what the tests work against: Go programs into .tools/bin, clients by apt
	testbench/tools.sh

vuln: ## look for known vulnerabilities in what is built in (needs the Go vulnerability database)
	testbench/tools.sh go govulncheck
	$(TOOLS)/govulncheck $(PACKAGES)

clean: ## remove what the other targets made, but no registry's data
	rm -rf gatehouse .tools
